"""Every command that a page names exists, with its options; and so does every setting."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from consilience.core.settings.settings import FIELDS, Settings, load_settings
from consilience.core.task import Task
from consilience.frontends.cli.main import main
from tests.support.pages import PAGES, ROOT, blocks, commands, mentioned

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@by_page
def test_commands_can_be_typed(page: Path) -> None:
    for words in commands(page):
        check(words)


@by_page
def test_commands_in_sentences_exist(page: Path) -> None:
    """There an argument may be left out. An option such as `--help` answers at once."""
    for words in mentioned(page):
        try:
            check([word for word in words if word != "..."])
        except (click.MissingParameter, click.exceptions.Exit):
            continue


@by_page
def test_settings_in_sentences_exist(page: Path) -> None:
    groups = {path.partition(".")[0] for path in FIELDS if "." in path}
    for path in re.findall(r"`(?:--set )?([a-z_]+\.[a-z_]+)\b[^`]*`", page.read_text(encoding="utf-8")):
        if path.partition(".")[0] in groups and not path.endswith(".sqlite"):
            assert path in FIELDS or any(name.startswith(f"{path}.") for name in FIELDS)


@by_page
def test_yaml_loads(page: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    for block in blocks(page):
        if block.language == "yaml":
            file.write_text(block.text, encoding="utf-8")
            loaded = Task.from_file(file) if block.text.startswith("# task.yaml") else load_settings(file)
            assert loaded != Settings()


def test_a_wrong_command_is_noticed() -> None:
    for line in ("consilience fitt photos/", "consilience fit photos/ --panel panel/ --task", "make coffee"):
        with pytest.raises((click.UsageError, AssertionError)):
            check(line.split())
    with pytest.raises(click.NoSuchOption):
        check(["consilience", "fit", "photos/", "--panell", "panel/"])


def check(words: Sequence[str]) -> None:
    """Raise click.UsageError or AssertionError if these words are no command."""
    match words:
        case ["consilience", *arguments]:
            parse(main, "consilience", arguments)
        case ["make", *targets]:
            rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert {target for target in targets if "=" not in target} <= {*rules}
        case ["pip", "install", what]:
            assert {*re.findall(r"[a-z]+", what)} <= EXTRAS.keys()
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None
        case _:
            raise AssertionError(f"who knows {words}?")


def parse(command: click.Command, name: str, arguments: Sequence[str]) -> None:
    """Parse what stands behind a command's name, as the command line would."""
    with command.make_context(name, [*arguments]) as context:
        if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
            _, inner, behind = command.resolve_command(context, rest)
            assert inner is not None
            parse(inner, rest[0], behind)
