"""Recorded answers of agents, in the column format that the paper's authors published (arXiv 2507.10571).

    id, Image, Category                                the row, the image's address, its true label
    <Agent>, <Agent>_confidence, _reason, _time, _cost the agent's label, in [0, 1], in words, seconds, USD
    <Agent>_1, <Agent>_1_confidence, ...               the first look, where there was a second: then <Agent> is that
    RAG_response                                       JSON: the share of each label among the nearest known images
    Orchestrator, Orchestrator_confidence, ...         what the paper's orchestrator concluded

`Category`, an agent's label and its confidence are needed, the other columns may be missing. The true labels are taken
out of the rows as they are read: a `Recording` does not hold them. An answer that names no label of the task is a
failed prediction; a cell that is no number where one belongs is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.agents import Neighbours
from consilience.agents.recorded import RecordedAgent
from consilience.agents.vlm.confidence import verbalised
from consilience.agents.vlm.label_answer import UNSURE, LabelAnswer, parse_label
from consilience.core.errors import AnswerError, DatasetError
from consilience.core.prediction import Prediction, Stage
from consilience.core.sources.table_file import TableFile
from consilience.core.task import Task, plain

TRUTH, SHARES, ORCHESTRATOR = "Category", "RAG_response", "Orchestrator"
CONFIDENCE, FIRST = "_confidence", "_1"

ROUNDED = 0.01
"""How far the shares of a `RAG_response` may be from 1 in sum."""


@dataclass(frozen=True)
class Recording:
    """What agents answered about n images, without the true labels.

    Attributes:
        images: n, addresses or ids: what tells the images apart.
        looks: by agent and stage, n predictions; first looks before second looks, the neighbours' among the first.
        orchestrator: the n conclusions of the recorded orchestrator, if there are any.
    """

    task: Task
    images: tuple[str, ...]
    looks: Mapping[tuple[str, Stage], tuple[Prediction, ...]]
    orchestrator: tuple[Prediction, ...] | None

    def __len__(self) -> int:
        return len(self.images)

    def agents(self) -> dict[str, RecordedAgent]:
        """Return the agents by name: they take the place of live ones in the graph."""
        return {
            name: RecordedAgent(name, first, self.looks.get((name, "second")))
            for (name, stage), first in self.looks.items()
            if stage == "first"
        }


def read_recording(path: Path, task: Task | None = None) -> tuple[Recording, tuple[str, ...]]:
    """Read recorded answers, and apart from them the true labels.

    Args:
        task: whose labels the answers must name; default: all labels that the answers name.

    Raises:
        DatasetError: the file cannot be read, is empty, lacks a column, or a cell is wrong; names the row.
        TaskError: without a task, the answers name fewer than two labels.
    """
    columns, rows = _read_table(path)
    agents = [
        name
        for column in columns
        if (name := column.removesuffix(CONFIDENCE)) != column and name not in ("RAG", ORCHESTRATOR)
    ]
    agents = [name for name in agents if name.removesuffix(FIRST) == name or name.removesuffix(FIRST) not in agents]
    _check_columns(path, columns, agents)
    truths = tuple(row.cells.pop(TRUTH) for row in rows)
    task = task or Task.from_labels(_named_labels(rows, agents))
    looks: dict[tuple[str, Stage], tuple[Prediction, ...]] = {}
    for name in agents:
        looks[name, "first"] = _answers(rows, name + FIRST if name + FIRST in columns else name, name, "first", task)
    if SHARES in columns:
        looks[Neighbours.name, "first"] = tuple(_retrieved(row, task) for row in rows)
    for name in agents:
        if name + FIRST in columns:
            looks[name, "second"] = _answers(rows, name, name, "second", task)
    orchestrator = _answers(rows, ORCHESTRATOR, ORCHESTRATOR, "first", task) if ORCHESTRATOR in columns else None
    images = tuple(row.cells.get("Image") or row.cells.get("id") or row.place for row in rows)
    return Recording(task, images, looks, orchestrator), truths


@dataclass(frozen=True)
class _Row:
    """One row of the file: its cells by column, and how messages call it."""

    place: str
    cells: dict[str, str]

    def number(self, column: str, most: float = math.inf) -> float:
        """Return the number in [0, most] in a cell; 0 where the cell is empty. Raises DatasetError."""
        text = self.cells.get(column, "").strip()
        try:
            value = float(text or 0)
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= most or math.isinf(value):
            wanted = "a finite number of at least 0" if math.isinf(most) else f"a number in [0, {most:g}]"
            raise DatasetError(f"{self.place}: '{column}' is '{text}', not {wanted}; correct the cell or empty it")
        return value

    def taken(self, column: str) -> dict[str, Any]:
        """Return what an answer cost and took, as arguments of its `Prediction`."""
        return {"cost_usd": self.number(column + "_cost"), "seconds": self.number(column + "_time")}


def _read_table(path: Path) -> tuple[list[str], list[_Row]]:
    table = TableFile(path, "the recording")
    rows = [
        _Row(f"{table.name}, row {number}", {name: "" if cell is None else str(cell) for name, cell in cells.items()})
        for number, cells in enumerate(table.rows(), 1)
    ]
    if not rows:
        raise DatasetError(f"{table.name} holds no rows; it needs a line of column names and one for each image")
    return [*rows[0].cells], rows


def _check_columns(path: Path, columns: Sequence[str], agents: Sequence[str]) -> None:
    if not agents:
        raise DatasetError(f"'{path}' has no agents: a column '<Agent>' with its '<Agent>{CONFIDENCE}' is needed")
    named = [*agents, *(name + FIRST for name in agents if name + FIRST in columns)]
    named += [ORCHESTRATOR] if ORCHESTRATOR in columns else []
    needed = [TRUTH, *(column + end for column in named for end in ("", CONFIDENCE))]
    if missing := [column for column in needed if column not in columns]:
        raise DatasetError(f"'{path}' lacks the columns {', '.join(map(repr, missing))}; it has: {', '.join(columns)}")


def _named_labels(rows: Sequence[_Row], agents: Sequence[str]) -> list[str]:
    """Every label that an answer names, each in one spelling, in order."""
    named = [row.cells.get(column, "") for row in rows for name in agents for column in (name, name + FIRST)]
    named += [label for row in rows if SHARES in row.cells for label in _shares(row)]
    spellings = {plain(label): label.strip() for label in reversed(named) if plain(label) not in ("", UNSURE)}
    return sorted(spellings.values())


def _answers(rows: Sequence[_Row], column: str, agent: str, stage: Stage, task: Task) -> tuple[Prediction, ...]:
    """Return an agent's answers, read as a live one's: its confidence on the label, the rest evenly on the others."""
    answers = []
    for row in rows:
        confidence, taken = row.number(column + CONFIDENCE, most=1.0), row.taken(column)
        try:
            label = parse_label(row.cells[column], task)
        except AnswerError as cause:
            answers.append(Prediction(agent, stage, error=str(cause), **taken))
            continue
        shares = verbalised(LabelAnswer(label, confidence), task)
        rationale = row.cells.get(column + "_reason", "")
        answers.append(Prediction(agent, stage, shares, confidence, rationale, abstained=shares is None, **taken))
    return tuple(answers)


def _retrieved(row: _Row, task: Task) -> Prediction:
    """Return the neighbours' answer: the share of each label."""
    shares, taken, totals = _shares(row), row.taken("RAG"), dict.fromkeys(task.names, 0.0)
    for named, share in shares.items():
        if (label := task.find(named)) is None:
            return Prediction(Neighbours.name, error=f"'{named}' is no label of the task", **taken)
        totals[label] += share / sum(shares.values())
    return Prediction(Neighbours.name, "first", totals, **taken)


def _shares(row: _Row) -> dict[str, float]:
    """Return the share of each label in `RAG_response`, as written there."""
    problem = f"{row.place}: '{SHARES}' is not a JSON list of {{'category': label, 'confidence': share}} "
    try:
        entries = json.loads(row.cells[SHARES])
        labels = [str(entry["category"]) for entry in entries]
        shares = [float(entry["confidence"]) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as cause:
        raise DatasetError(f"{problem}({type(cause).__name__}: {cause})") from cause
    if not all(0.0 <= share <= 1.0 for share in shares) or abs(sum(shares) - 1.0) > ROUNDED:
        raise DatasetError(f"{problem}whose shares lie in [0, 1] and sum to 1: they are {shares}")
    if len(set(labels)) != len(labels):
        raise DatasetError(f"{problem}that names each label once: it names {', '.join(labels)}")
    return dict(zip(labels, shares, strict=True))
