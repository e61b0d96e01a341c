"""`consilience suggest`, from the question to what is learned, and `export`, as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import PIL.Image
import pytest

from consilience.orchestrator.panel.panel import Panel
from tests.support.commands import Invoke


def test_a_table_is_written_filled_in_and_learned(
    invoke: Invoke, panel: Path, unlabelled: Path, tmp_path: Path
) -> None:
    table, picture = tmp_path / "ask.csv", tmp_path / "ask.png"
    asked = invoke(
        "suggest", unlabelled, "--panel", panel, "--number", 4, "--csv", table, "--picture", picture, "--json"
    )
    assert asked.exit_code == 0
    shown = [json.loads(line) for line in asked.stdout.splitlines()]
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [suggestion["path"] for suggestion in shown]
    assert {row["label"] for row in rows} == {""}
    assert PIL.Image.open(picture).size == (1400, 316)  # a heading and one row
    assert invoke("suggest", "--labels", table, "--panel", panel).exit_code == 1  # nothing is filled in

    for row in rows[1:]:
        row["label"] = Path(row["path"]).name.partition("-")[0].upper()
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label"])
        writer.writeheader()
        writer.writerows(rows)
    before = len(Panel.open(panel).labelled_images)
    learned = invoke("suggest", "--labels", table, "--panel", panel)
    assert (learned.exit_code, "3 labels learned" in learned.stderr) == (0, True)
    labelled_images = Panel.open(panel).labelled_images
    assert len(labelled_images) == before + 3
    by_source = dict(zip(labelled_images.sources, labelled_images.labels, strict=True))
    assert [by_source[row["path"]] for row in rows[1:]] == [row["label"].lower() for row in rows[1:]]


def test_answers_at_the_terminal_are_learned(invoke: Invoke, panel: Path, unlabelled: Path) -> None:
    before = len(Panel.open(panel).labelled_images)
    answers = "hexagon\ncircle\n\n3\n"  # no label, a label, nothing, a number; then the end
    result = invoke("suggest", unlabelled, "--panel", panel, "--number", 4, "--answer", stdin=answers)
    assert result.exit_code == 0
    assert "The panel has no label 'hexagon'." in result.stderr
    assert "2 labels learned" in result.stderr
    labelled_images = Panel.open(panel).labelled_images
    assert labelled_images.labels[before:] == ("circle", "stripes")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("path,label\na.png,hexagon\n", "line 2 of"),
        ("file,label\na.png,circle\n", "has no columns 'path' and 'label'"),
    ],
)
def test_a_wrong_table_is_refused(invoke: Invoke, panel: Path, tmp_path: Path, content: str, problem: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content)
    result = invoke("suggest", "--labels", table, "--panel", panel)
    assert result.exit_code == 1
    assert problem in result.stderr


def test_a_folder_or_a_table_is_needed(invoke: Invoke, panel: Path) -> None:
    assert invoke("suggest", "--panel", panel).exit_code == 2


def test_an_export_is_checked_and_split(invoke: Invoke, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "shapes.jsonl"
    result = invoke("export", shapes, "--format", "openai-finetune", "--out", out, "--held-out", 0.2)
    assert result.exit_code == 0
    training, held_out = (
        [json.loads(line) for line in file.read_text().splitlines()]
        for file in (out, tmp_path / "shapes.held-out.jsonl")
    )
    assert (len(training), len(held_out)) == (33, 9)
    answers = [json.loads(request["messages"][-1]["content"])["label"] for request in held_out]
    assert sorted(answers) == ["circle"] * 3 + ["square"] * 3 + ["stripes"] * 3
