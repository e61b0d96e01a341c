"""Answers of agents in whatever form they are given, and what a panel makes of them before it weighs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consilience.agents.recorded import AnswerReader
from consilience.core.errors import DatasetError
from consilience.core.sources.answer_arrays import AnswerArrays
from consilience.core.sources.answer_table import AnswerTable
from consilience.core.sources.answers import AnswerSource
from consilience.orchestrator.panel.panel import Panel

GivenAnswers = str | Path | Iterable[Mapping[str, Any]] | AnswerArrays
"""A table of answers (.csv, .parquet, .jsonl), its rows, or arrays."""


@contextmanager
def open_answers(answers: GivenAnswers) -> Iterator[AnswerSource]:
    """Open answers, wherever they come from. Raises DatasetError: they cannot be used; names the row."""
    if isinstance(answers, AnswerArrays):
        yield answers
        return
    with AnswerTable(answers) as table:
        yield table


def answer_identity(name: str) -> str:
    """Return the identity of an image of which only the name is known: a hash of it."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def reader_of(panel: Panel, source: AnswerSource) -> AnswerReader:
    """Return what reads answers as predictions of a panel's labels.

    Raises:
        DatasetError: they are of none of the panel's agents, their probabilities are not of its labels, or it was
            fitted on images.
    """
    if not panel.of_answers:
        raise DatasetError(f"the panel '{panel.path}' was fitted on images: give it images, or fit one on answers")
    if not set(panel.agents) & set(source.agents):
        raise DatasetError(
            f"{source.name}: the panel knows none of the agents {', '.join(source.agents)}; it has trust in "
            f"{', '.join(panel.agents)}"
        )
    return AnswerReader(panel.task, source)
