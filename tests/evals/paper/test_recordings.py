"""Reading recorded answers and summary numbers: what is taken, and what is refused in which words."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from consilience.core.errors import DatasetError
from consilience.core.task import Task
from consilience.evals.paper.recordings import read_recording
from consilience.evals.paper.replay import read_trust

TASK = Task.from_labels(["rust", "scab"])


def write(path: Path, row: Mapping[str, Any], *others: Mapping[str, Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([row, *others])
    return path


def shares(**of: float) -> str:
    return json.dumps([{"category": label, "confidence": share} for label, share in of.items()])


GOOD = {"id": "1", "Category": "rust", "Qwen": "rust", "Qwen_confidence": "0.9", "RAG_response": shares(rust=1.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Qwen_confidence": "43"}, r"row 1: 'Qwen_confidence' is '43', not a number in \[0, 1\]"),
        ({"Qwen_confidence": "nan"}, "'Qwen_confidence' is 'nan'"),
        ({"Qwen_confidence": "-0.1"}, "'Qwen_confidence' is '-0.1'"),
        ({"Qwen_confidence": "high"}, "'Qwen_confidence' is 'high'"),
        ({"Qwen_cost": "inf"}, "'Qwen_cost' is 'inf', not a finite number of at least 0"),
        ({"RAG_response": ""}, "'RAG_response' is not a JSON list"),
        ({"RAG_response": "[{]"}, "'RAG_response' is not a JSON list"),
        ({"RAG_response": "[" * 100_000}, "'RAG_response' is not a JSON list"),
        ({"RAG_response": "7"}, "'RAG_response' is not a JSON list"),
        ({"RAG_response": '[{"label": "rust"}]'}, "'RAG_response' is not a JSON list"),
        ({"RAG_response": shares(rust=0.5)}, r"sum to 1: they are \[0.5\]"),
        ({"RAG_response": shares(rust=1.5, scab=-0.5)}, "sum to 1"),
        ({"RAG_response": shares(rust=float("nan"))}, "sum to 1"),
        ({"RAG_response": "[]"}, "sum to 1"),
        ({"RAG_response": shares(rust=0.5)[:-1] + ", " + shares(rust=0.5)[1:]}, "names each label once"),
        ({"Category": None}, "lacks the columns 'Category'"),
        ({"Qwen": None}, "lacks the columns 'Qwen'"),
        ({"Qwen": None, "Qwen_confidence": None}, "has no agents"),
        ({"Qwen_1": "rust"}, "lacks the columns 'Qwen_1_confidence'"),
        ({"Orchestrator": "rust"}, "lacks the columns 'Orchestrator_confidence'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, change: dict[str, str | None], message: str) -> None:
    cells = {name: cell for name, cell in (GOOD | change).items() if cell is not None}
    with pytest.raises(DatasetError, match=message):
        read_recording(write(tmp_path / "a.csv", cells), TASK)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no rows"),
        (b"id,Category,Qwen,Qwen_confidence\n", "holds no rows"),
        (b"id,Category,Qwen,Qwen_confidence\n1,rust,rust\n", "line 2: 3 cells for 4 columns"),
        (b"id,id,Category,Qwen,Qwen_confidence\n1,1,rust,rust,0.9\n", "more than one column 'id'"),
        (b"id,Category\n\xff\xfe,rust\n", "not in UTF-8 .line 2: byte 0xff"),
        (b'id,Category\n"1,rust\n', "line 2, is not CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    with pytest.raises(DatasetError, match=message):
        read_recording(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.csv' cannot be read"):
        read_recording(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match=r"none\.json' cannot be read"):
        read_trust(tmp_path / "none.json")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{}",
        '{"n": 5}',
        '{"n": 5, "agents": {"Qwen": {"ece": 0.1, "ocr": 0.1}}}',
        '{"n": 5, "agents": {"Qwen": {"ece": 1.1, "ocr": 0.1, "ccc": 0}}}',
        '{"n": 5, "agents": {"Qwen": {"ece": NaN, "ocr": 0.1, "ccc": 0}}}',
    ],
)
def test_summary_numbers_are_checked(tmp_path: Path, data: str) -> None:
    path = tmp_path / "trust.json"
    path.write_text(data)
    with pytest.raises(DatasetError, match="holds no summary numbers"):
        read_trust(path)


def test_one_look_or_two(tmp_path: Path) -> None:
    once, _ = read_recording(write(tmp_path / "once.csv", GOOD), TASK)
    assert list(once.looks) == [("Qwen", "first"), ("neighbours", "first")]
    twice, _ = read_recording(
        write(tmp_path / "twice.csv", GOOD | {"Qwen_1": "scab", "Qwen_1_confidence": "0.7"}), TASK
    )
    assert list(twice.looks) == [("Qwen", "first"), ("neighbours", "first"), ("Qwen", "second")]
    assert twice.looks["Qwen", "first"][0].probabilities == pytest.approx({"rust": 0.3, "scab": 0.7})
    assert twice.looks["Qwen", "second"][0].probabilities == pytest.approx({"rust": 0.9, "scab": 0.1})


def test_without_a_task_the_answers_name_the_labels_not_the_truth(tmp_path: Path) -> None:
    cells = [GOOD | {"Category": "canker", "Qwen": cell} for cell in ("Scab", "scab", "unsure", "")]
    recording, _ = read_recording(write(tmp_path / "a.csv", *cells))
    assert recording.task.names == ("Scab", "rust")


def test_a_confidence_below_chance_still_names_its_label(tmp_path: Path) -> None:
    recording, _ = read_recording(write(tmp_path / "a.csv", GOOD | {"Qwen_confidence": ""}), TASK)
    (prediction,) = recording.looks["Qwen", "first"]
    assert (prediction.label, prediction.confidence) == ("rust", 0.0)
