"""The README is short, and what it shows is true."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from consilience.frontends.cli.panels.demo_command import run
from consilience.frontends.cli.panels.solar_cells import read_cells, split
from tests.support.pages import ROOT, blocks

README = ROOT / "README.md"


def test_it_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 900


def test_its_links_lead_somewhere() -> None:
    """Sphinx checks those of the pages."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text(encoding="utf-8"))
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https:") and not (ROOT / link).exists()] == []


@pytest.mark.slow
def test_its_python_prints_what_stands_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits may differ a little: processors round differently."""
    monkeypatch.chdir(tmp_path)
    run(split(read_cells(), 1000, 0), Path("demo"))
    examples = blocks(README)
    place = [block.language for block in examples].index("python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(examples[place].text, "README.md", "exec"), {})  # noqa: S102
    number = re.compile(r"\d\.\d+")
    assert number.sub("#", printed.getvalue()) == number.sub("#", examples[place + 1].text)
    actual, shown = (map(float, number.findall(text)) for text in (printed.getvalue(), examples[place + 1].text))
    assert list(actual) == pytest.approx(list(shown), abs=0.02)
