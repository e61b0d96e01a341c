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


def _renamed(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    renamed = {}
    for one in given:
        old, equals, new = one.partition("=")
        if not equals or not old or not new:
            raise click.BadParameter(f"'{one}' is not OLD=NEW")
        renamed[old] = new
    return renamed


def choice_options(command: Command) -> Command:
    """`--sample`, `--limit`, `--seed` and `--map`: which labelled images, and what their labels mean."""
    sample = click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Take N images drawn at random.")
    limit = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take only the first N images.")
    seed = click.option("--seed", type=int, metavar="N", help="Of the sample; the setting 'seed'.")
    renamed = click.option(
        "--map", "renamed", multiple=True, metavar="OLD=NEW", callback=_renamed, help="OLD means the label NEW."
    )
    return sample(limit(seed(renamed(command))))


def settings_options(command: Command) -> Command:
    """`--settings FILE` and `--set NAME=VALUE`; `collected` makes settings of their values."""
    assign = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting, such as policy.target=0.9; may be given many times.",
    )
    file = click.option("--settings", "settings_file", type=PATH, metavar="FILE", help="A YAML file of settings.")
    return file(assign(command))


def collected(settings_file: Path | None, assignments: tuple[str, ...], **arguments: Any) -> Settings:
    """The settings of this run; `arguments` are the options of their own, None if not given, and win.

    Raises:
        click.BadParameter: an assignment is no NAME=VALUE, or there is no such setting.
        SettingsError: as `load_settings`.
    """
    from consilience.core.settings.settings import FIELDS, load_settings

    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in FIELDS:
            problem = "is no setting" if equals else "is not NAME=VALUE"
            raise click.BadParameter(f"'{name}' {problem}; the settings are: {', '.join(FIELDS)}", param_hint="'--set'")
        given[name.replace(".", "__")] = value
    return load_settings(settings_file, **given | {name: one for name, one in arguments.items() if one is not None})
