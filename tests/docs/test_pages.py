"""The pages build without a warning, and what they show runs."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest

from consilience.frontends.cli.main import main
from tests.support.pages import ROOT, blocks
from tests.support.shapes import LABELS, draw

DOCS = ROOT / "docs"

NAMES = {"circle": "healthy", "square": "scab", "stripes": "rust"}
"""What the quickstart calls the shapes."""


@pytest.mark.slow
def test_they_build_strictly(tmp_path: Path) -> None:
    strictly = ["-W", "--keep-going", "-n", "-q", "-E", "-d", str(tmp_path / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *strictly, str(DOCS), str(tmp_path / "html")]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (built.returncode, built.stderr) == (0, "")
    reference = (tmp_path / "html" / "reference" / "commands.html").read_text(encoding="utf-8")
    assert {name for name in main.commands if f"consilience {name}" not in reference} == set()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the images that the pages speak of, to work in."""
    for label in LABELS:
        for folder, name, first, number in (
            ("photos", NAMES[label], 0, 12),
            ("shapes", label, 0, 12),
            ("test", NAMES[label], 200, 4),
            ("more", "", 100, 4),
        ):
            (tmp_path / folder / name).mkdir(parents=True, exist_ok=True)
            for place in range(first, first + number):
                draw(label, place).save(tmp_path / folder / name / f"{label}-{place}.png")
    draw("circle", 300).save(tmp_path / "new.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONSILIENCE_PANEL", "")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", ["quickstart", "agents", "feedback", "evaluation"])
def test_what_they_show_runs(page: str, workplace: Path) -> None:
    """In the page's order, all but what installs, downloads, or needs what a run before said."""
    if page != "quickstart":
        succeed(["fit", "photos/", "--panel", "panel/"])
    for block in blocks(DOCS / f"{page}.md"):
        if block.language == "yaml" and block.text.startswith("# "):
            Path(block.text.split()[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, f"{page}.md", "exec"), {})  # noqa: S102
        elif block.language == "console":
            for words in block.commands:
                if words[0] == "consilience" and not needs_more(words):
                    succeed(words[1:])


def needs_more(words: list[str]) -> bool:
    """Whether a command needs the network, another package, or an answer of a command before it."""
    return words[1] in {"feedback", "undo", "review", "add-label", "compare", "stress", "replay"} or any(
        "open_clip" in word or word == "auto" or word == "bioclip" for word in words
    )


def succeed(arguments: list[str]) -> None:
    """Run a command in this process; 's' is what it gets where it asks."""
    if arguments[0] == "fit":
        arguments = [*arguments, "--overwrite"]
    result = click.testing.CliRunner().invoke(main, arguments, input="s\n" * 20)
    assert result.exit_code == 0, f"{arguments}: {result.output}"
