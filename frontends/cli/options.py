"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from consilience.core.settings.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
PANEL_VARIABLE = "CONSILIENCE_PANEL"

panel_option = click.option(
    "--panel",
    required=True,
    type=PATH,
    metavar="DIR",
    envvar=PANEL_VARIABLE,
    show_envvar=True,
    help="The panel's folder.",
)
panel_argument = click.argument("panel", type=PATH, metavar="DIR", envvar=PANEL_VARIABLE)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
answers_option = click.option(
    "--answers",
    type=PATH,
    metavar="FILE",
    help="A table of what other agents answered about these images, which it names by their paths.",
)


def _renamed(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals or not old or not new:
            raise click.BadParameter(f"'{pair}' is not of the form OLD=NEW")
        renamed[old] = new
    return renamed


def choice_options(command: Command) -> Command:
    """Add `--sample`, `--limit`, `--seed` and `--map`: which labelled images to use, and what their labels mean."""
    sample = click.option(
        "--sample", type=click.IntRange(min=1), metavar="N", help="Use only N images, drawn at random."
    )
    limit = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use only the first N images.")
    seed = click.option("--seed", type=int, metavar="N", help="Seed of the random sample.")
    renamed = click.option(
        "--map",
        "renamed",
        multiple=True,
        metavar="OLD=NEW",
        callback=_renamed,
        help="Read the label OLD as NEW; may be given many times.",
    )
    return sample(limit(seed(renamed(command))))


def settings_options(command: Command) -> Command:
    """Add `--settings FILE` and `--set NAME=VALUE`; `collected` makes settings of their values."""
    assign = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting, such as policy.target=0.9; may be given many times.",
    )
    file = click.option("--settings", "settings_file", type=PATH, metavar="FILE", help="A YAML file with settings.")
    return file(assign(command))


def collected(settings_file: Path | None, assignments: tuple[str, ...], **arguments: Any) -> Settings:
    """Return the settings of this run; `arguments` are those with options of their own, None if not given, and win.

    Raises:
        click.BadParameter: an assignment is no NAME=VALUE, or there is no such setting.
        SettingsError: as `load_settings`.
    """
    from consilience.core.settings.settings import FIELDS, load_settings
    from consilience.core.settings.settings_problem import nearest

    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in FIELDS:
            problem = f"is not a setting{nearest(name, FIELDS)}" if equals else "is not of the form NAME=VALUE"
            raise click.BadParameter(f"'{name}' {problem}; the settings are: {', '.join(FIELDS)}", param_hint="'--set'")
        values[name.replace(".", "__")] = value
    return load_settings(
        settings_file, **values | {name: value for name, value in arguments.items() if value is not None}
    )
