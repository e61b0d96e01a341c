"""Every example runs, on drawn shapes, and comes to the right labels."""

from __future__ import annotations

import ast
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_server import ScriptedServer
from tests.support.shape_model import sees
from tests.support.shapes import LABELS, draw, draw_all

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_LINES = 60
"""An example is read at a glance."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    return draw_all(tmp_path / "photos" / "train")


@pytest.fixture
def new(tmp_path: Path) -> list[Path]:
    """A new image of each label."""
    paths = [tmp_path / f"new-{label}.png" for label in LABELS]
    for label, path in zip(LABELS, paths, strict=True):
        draw(label, 1000).save(path)
    return paths


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run an example as a script: what it prints."""

    def started(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return started


def test_every_example_is_tested_here_and_short() -> None:
    tested = Path(__file__).read_text()
    examples = [path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")]
    assert len(examples) == 5
    for path in examples:
        assert f'"{path.name}"' in tested
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < MAX_LINES, path


@pytest.mark.slow
def test_fit_and_diagnose(run: Callable[..., str], photos: Path, new: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    printed = run("fit_and_diagnose.py", photos, tmp_path / "panel", *new, broken)
    for label, path in zip(LABELS, new, strict=True):
        assert f"{path}: {label}, " in printed
    assert f"{broken}: " in printed
    assert "probe: accuracy " in printed


def test_answers_are_weighed(run: Callable[..., str], tmp_path: Path) -> None:
    printed = run("weigh_answers.py", tmp_path / "try").splitlines()
    alone = [float(line.split("right on ")[1].split()[0]) for line in printed[:3]]
    together = float(printed[-1].split("right on ")[1].split()[0])
    assert together > max(alone) + 0.05


@pytest.mark.slow
def test_an_agent_of_your_own(run: Callable[..., str], photos: Path, new: list[Path], tmp_path: Path) -> None:
    colours = ("circle=#c82828", "square=#283cc8", "stripes=#f0e63c")
    printed = run("own_agent.py", photos, tmp_path / "panel", new[1], *colours)
    assert "nearest-colour: accuracy 1.000, n = 42" in printed
    assert "nearest-colour says square, weight " in printed
    assert printed.splitlines()[-1].startswith("square, ")


@pytest.mark.slow
def test_a_panel_with_a_model(
    run: Callable[..., str],
    photos: Path,
    new: list[Path],
    tmp_path: Path,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.by_request = sees
    monkeypatch.setenv("CONSILIENCE_REPLIES__PATH", str(tmp_path / "replies.sqlite"))
    monkeypatch.setenv("MODEL", "tiny")
    monkeypatch.setenv("MODEL_URL", server.url)
    monkeypatch.setenv("MODEL_KEY", "a key")
    printed = run("models_panel.py", photos, tmp_path / "panel", *new)
    assert "The fit cost " in printed
    assert "model, first look: accuracy 1.000, n = 42" in printed
    assert {request["model"] for request in server.requests} == {"tiny"}
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer a key"}
    for label in LABELS:
        assert f"new-{label}.png" in printed
        assert f"### {label}, " in printed


def cells_of(name: str) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads((EXAMPLES / name).read_text())["cells"]
    return cells


def shown_by(source: str, names: dict[str, Any]) -> Any:
    """Run a cell: what its last line is worth, which a notebook shows."""
    *statements, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        exec(source, names)  # noqa: S102  our own words
        return None
    exec(compile(ast.Module(statements, []), "<cell>", "exec"), names)  # noqa: S102
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307


@pytest.mark.slow
def test_the_notebook_of_an_evaluation(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in LABELS:
        (photos.parent / "test" / label).mkdir(parents=True)
        for number in range(3):
            draw(label, 500 + number).save(photos.parent / "test" / label / f"{number}.png")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in cells_of("evaluation.ipynb") if cell["cell_type"] == "code"]
    for cell in cells:
        shown = shown_by("".join(cell["source"]), names)
    printed = capsys.readouterr().out
    assert "9 images decided, 0 failed, 0 of them known to the panel" in printed
    assert "right: 1.000" in printed
    assert shown._repr_html_().startswith("<")


def test_the_notebook_holds_no_outputs() -> None:
    for cell in cells_of("evaluation.ipynb"):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
