"""Agents that have answered already: their answers take the place of live ones in the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from consilience.agents.base import AgentInput
from consilience.agents.ranking import read_places, shares_of
from consilience.agents.vlm.confidence import verbalised
from consilience.agents.vlm.label_answer import LabelAnswer
from consilience.core.errors import AnswerError, DatasetError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction, Stage
from consilience.core.sources.answers import Answer, AnsweredImage, AnswerSource
from consilience.core.task import Task

SPELLINGS = 10_000
"""Words for labels whose meaning is remembered, at most."""


@dataclass(frozen=True)
class RecordedAgent:
    """Answers as recorded. The feature of a recorded image is the number of its row: all that there is to see of it."""

    name: str
    first: Sequence[Prediction]
    second: Sequence[Prediction] | None = None

    @property
    def can_revise(self) -> bool:
        """Return whether second looks were recorded."""
        return self.second is not None

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        """Return the recorded first looks."""
        return [self.first[row] for row in rows_of(inputs.features)]

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        """Return the recorded second looks."""
        return [(self.second or ())[row] for row in rows_of(inputs.features)]


def features_of_rows(n: int) -> np.ndarray:
    """Return float32 (n, 1), the number of each row: the features of recorded images."""
    return np.arange(n, dtype=np.float32)[:, None]


def rows_of(features: np.ndarray) -> list[int]:
    """Return the numbers of the rows in the features of recorded images."""
    return [int(row) for row in features[:, 0]]


class AnswerReader:
    """Reads what agents answered as predictions of a task's labels.

    A label without a confidence is read as all of the probability: calibration finds what it is worth. Of several
    labels (`ranking`) the order counts, and a confidence does not: it is not known whose it is. An answer that names
    something else than labels is a failed prediction, one that names nothing, or all of them alike, an abstention.

    Args:
        task: whose labels the answers name.
        source: where they come from.

    Raises:
        DatasetError: it has probabilities of something else than the task's labels, or lacks one of them.
    """

    def __init__(self, task: Task, source: AnswerSource) -> None:
        self._task = task
        self._labels = task.names
        self._order = {labels: self._order_of(labels, source) for labels in source.label_sets}
        self._places = lru_cache(SPELLINGS)(lambda text: read_places(text, task))
        self._one_hot = {name: {label: float(label == name) for label in task.names} for name in task.names}

    def agents(
        self, images: Sequence[AnsweredImage], names: Iterable[str], revising: Iterable[str]
    ) -> list[RecordedAgent]:
        """Return the agents of these names with what they answered about the images; the others' answers are left out.

        Args:
            revising: those who may have looked again.
        """
        answers = [{(answer.agent, answer.stage): answer for answer in image.answers} for image in images]
        again = set(revising)

        def looks(agent: str, stage: Stage) -> list[Prediction]:
            return [self.prediction(agent, stage, known.get((agent, stage))) for known in answers]

        return [
            RecordedAgent(name, looks(name, "first"), looks(name, "second") if name in again else None)
            for name in names
        ]

    def prediction(self, agent: str, stage: Stage, answer: Answer | None) -> Prediction:
        """Return an answer as a prediction; None: the agent was not asked, or did not answer."""
        if answer is None:
            return Prediction(agent, stage, error="it gave no answer on this image")
        if answer.shares is not None:
            return Prediction(agent, stage, dict(zip(self._labels, self.in_order(answer.shares).tolist(), strict=True)))
        try:
            places = self._places(answer.label) if answer.label else ()
        except AnswerError as cause:
            return Prediction(agent, stage, error=str(cause))
        if not places:
            return Prediction(agent, stage, abstained=True)
        if len(places) > 1 or len(places[0]) > 1:
            return Prediction(agent, stage, dict.fromkeys(self._labels, 0.0) | shares_of(places), answer.confidence)
        label = places[0][0]
        if answer.confidence is None:
            return Prediction(agent, stage, self._one_hot[label])
        shares = verbalised(LabelAnswer(label, answer.confidence), self._task)
        return Prediction(agent, stage, shares, answer.confidence)

    def in_order(self, shares: Mapping[str, float]) -> np.ndarray:
        """Return probabilities by label, as written, in the task's order: float (c,)."""
        return np.asarray(np.fromiter(shares.values(), np.float64, len(shares))[self._order[tuple(shares)]])

    def _order_of(self, labels: tuple[str, ...], source: AnswerSource) -> np.ndarray:
        """Return where each label of the task stands among those as written, int (c,)."""
        names = [self._task.find(label) for label in labels]
        known, listed = [name for name in names if name is not None], ", ".join(self._task.names)
        if len(known) < len(names):
            raise DatasetError(
                f"{source.name} has probabilities of '{labels[names.index(None)]}', which is no label of the task; it "
                f"has {listed}. Leave the column out, or give a task that knows the label"
            )
        if missing := [name for name in self._task.names if known.count(name) != 1]:
            raise DatasetError(
                f"{source.name} has probabilities of {', '.join(labels)}, but not of '{missing[0]}', or twice; give "
                f"one for each label: {listed}"
            )
        return np.array([known.index(name) for name in self._task.names], dtype=np.intp)
