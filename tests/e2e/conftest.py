"""Drawn shapes, a panel of them, and the command line: in this process, or in one of its own as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest

from consilience.frontends.cli.main import main
from tests.support.commands import Invoke, Run
from tests.support.made_once import made_once
from tests.support.shapes import LABELS, draw, draw_all


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests do not count; the folder of exported models may be theirs."""
    for name in list(os.environ):
        kept = name in ("CONSILIENCE_CACHE", "CONSILIENCE_CONFIG", "CONSILIENCE_TEST_DATA")
        if name.startswith("CONSILIENCE_") and not kept:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder, half PNG and half JPEG. Not to be changed."""
    return made_once(tmp_path_factory, "shapes", draw_all)


@pytest.fixture
def new_images(tmp_path: Path) -> dict[str, Path]:
    """An image of each label that no panel has seen."""
    folder = tmp_path / "new"
    folder.mkdir()
    paths = {label: folder / f"new-{label}.png" for label in LABELS}
    for label, path in paths.items():
        draw(label, 1000).save(path)
    return paths


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Three new shapes of each label, whose file names tell the answer."""
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for label in LABELS:
        for number in range(3):
            draw(label, 500 + number).save(folder / f"{label}-{number}.png")
    return folder


@pytest.fixture(scope="session")
def fitted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A panel of the shapes. Not to be changed."""

    def fit(folder: Path) -> None:
        result = click.testing.CliRunner().invoke(main, ["fit", str(shapes), "--panel", str(folder), "--group", "none"])
        assert result.exit_code == 0, result.stderr

    # each process has its own: who opens a panel owns its index
    once = made_once(tmp_path_factory, "fitted", fit)
    return Path(shutil.copytree(once, tmp_path_factory.mktemp("fitted") / "panel"))


@pytest.fixture
def panel(fitted: Path, tmp_path: Path) -> Path:
    """A copy of the panel that a test may change, without the history of what other tests diagnosed."""
    without = shutil.ignore_patterns("history.sqlite*")
    return Path(shutil.copytree(fitted, tmp_path / "panel", ignore=without))


@pytest.fixture
def invoke() -> Invoke:
    """Run a command in this process."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(main, list(map(str, arguments)), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def script() -> str:
    """The installed command."""
    return str(Path(sys.executable).with_name("consilience"))


@pytest.fixture
def run(script: str) -> Run:
    """Run a command in a process of its own."""

    def started(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [script, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return started
