"""`consilience suspects` and `relabel`: from images in the wrong folder to images in the right one, and back."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

import consilience
from tests.support.commands import Invoke
from tests.support.shapes import LABELS, draw, draw_all

MISPLACED = {"square/<b>x & 9.png": "circle", "circle/lost.png": "stripes"}
"""By name in the folder, what the image shows."""

COPY = "stripes/again.jpg"
"""Of a circle, saved again at half the size."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_all(tmp_path_factory.mktemp("mixed") / "shapes")
    for number, (name, label) in enumerate(MISPLACED.items()):
        draw(label, 50 + number).save(folder / name)
    draw("circle", 3).resize((80, 80)).save(folder / COPY)
    return folder


@pytest.fixture(scope="module")
def panel_of_mixed(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return consilience.fit(mixed, tmp_path_factory.mktemp("panel") / "panel").panel.path


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_in_wrong_folders_are_listed_and_shown(
    invoke: Invoke, panel_of_mixed: Path, mixed: Path, tmp_path: Path
) -> None:
    before, page, manifest = held(mixed), tmp_path / "page.html", tmp_path / "corrected.csv"
    asked = invoke("suspects", "--panel", panel_of_mixed, "--json", "--html", page, "--manifest", manifest)
    assert asked.exit_code == 0, asked.stderr
    shown = {str(Path(row["source"]).relative_to(mixed)): row for row in map(json.loads, asked.stdout.splitlines())}
    for name, label in {**MISPLACED, COPY: "circle"}.items():
        assert (shown[name]["label"], shown[name]["panel_label"]) == (name.partition("/")[0], label)
        assert shown[name]["probability"] < 0.5 < shown[name]["panel_probability"]
    assert "copy" in shown[COPY]["why"]
    assert shown[COPY]["copy"] == {"source": str(mixed / "circle" / "circle-03.jpg"), "label": "circle"}
    assert held(mixed) == before

    html = page.read_text(encoding="utf-8")
    assert html.count("<section") == len(shown)
    assert "&lt;b&gt;x &amp; 9.png" in html
    assert "<b>" not in html
    assert "a copy has the label circle: circle-03.jpg" in html
    assert re.findall(r"(?:src|href)=\"(?!data:image/jpeg;base64,)", html) == []  # one file, that asks for nothing

    with manifest.open(newline="") as file:
        rows = {str(Path(row["path"]).relative_to(mixed)): row for row in csv.DictReader(file)}
    assert len(rows) == len(before)
    changed = {name: row["label"] for name, row in rows.items() if row["was"]}
    assert changed == {name: row["proposed"] for name, row in shown.items() if row["proposed"]}
    assert invoke("fit", manifest, "--panel", tmp_path / "again", "--agents", "neighbours").exit_code == 0


def test_the_moves_are_looked_through_made_and_taken_back(
    invoke: Invoke, panel_of_mixed: Path, mixed: Path, tmp_path: Path
) -> None:
    before, moves = held(mixed), tmp_path / "moves.csv"
    assert "perhaps wrong" in invoke("suspects", "--panel", panel_of_mixed, "--moves", moves).stdout
    with moves.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:  # as a person fills it in
        row["new_label"] = {**MISPLACED, COPY: "circle"}.get(str(Path(row["path"]).relative_to(mixed)), "")
    with moves.open("w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0]])
        table.writeheader()
        table.writerows(rows)

    seen = invoke("relabel", moves, "--folder", mixed)
    assert (seen.exit_code, "3 files would be moved" in seen.stderr) == (0, True)
    assert "stripes/again.jpg -> circle/again.jpg" in seen.stdout
    assert held(mixed) == before
    moved = invoke("relabel", moves, "--folder", mixed, "--apply")
    assert (moved.exit_code, "3 files moved" in moved.stderr) == (0, True)
    after = {name for name in held(mixed) if not name.startswith(".")}
    assert {"circle/<b>x & 9.png", "stripes/lost.png", "circle/again.jpg"} <= after
    assert len(after) == len(before)
    twice = invoke("relabel", moves, "--folder", mixed, "--apply")
    assert (twice.exit_code, "is not there" in twice.stderr) == (1, True)
    assert "Traceback" not in twice.stderr
    assert invoke("relabel", "--folder", mixed, "--undo").exit_code == 0
    assert held(mixed) == before


@pytest.mark.parametrize("words", [(), ("--undo", "--resume"), ("--apply",), ("moves.csv", "--undo")])
def test_what_to_do_is_said_once(invoke: Invoke, mixed: Path, words: tuple[str, ...]) -> None:
    assert invoke("relabel", "--folder", mixed, *words).exit_code == 2


def test_a_page_that_cannot_be_written_is_one_line(invoke: Invoke, panel_of_mixed: Path, tmp_path: Path) -> None:
    result = invoke("suspects", "--panel", panel_of_mixed, "--html", tmp_path / "none" / "page.html")
    assert (result.exit_code, "cannot be written" in result.stderr) == (1, True)
    assert LABELS[0] not in result.stdout
