"""Answers of a table as arrays, image by image: what is learned from, with and without a truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from consilience.agents.recorded import AnswerReader
from consilience.core.dataset import natural_order
from consilience.core.prediction import Stage
from consilience.core.progress import Progress
from consilience.core.render.phrases import counted
from consilience.core.sources.answers import AnsweredImage, AnswerSource
from consilience.core.task import Task, plain
from consilience.orchestrator.ensemble.silence import raw_answer

STEP = 1000
"""Images after which progress is told."""


class RawLooks:
    """What agents answered about images, in the order in which these were added.

    Args:
        source: where the answers come from.
        task: whose c labels they name.
        wanted: the looks that are read.
        n: images that will be added.
        progress: is told how far the work is.

    Attributes:
        names, groups: of the images so far.
        raw: by agent and stage, probabilities (n, c), rows of NaN where there is no answer, of SILENT where an
            agent named nothing.
        foreign: by agent, how many of its answers named none of the labels.

    Raises:
        DatasetError: as for `AnswerReader`.
    """

    def __init__(
        self, source: AnswerSource, task: Task, wanted: Iterable[tuple[str, Stage]], n: int, progress: Progress
    ) -> None:
        self._reader, self._n, self._progress = AnswerReader(task, source), n, progress
        self.raw = {look: np.full((n, len(task.names)), np.nan) for look in wanted}
        self.names: list[str] = []
        self.groups: list[str | None] = []
        self.foreign: dict[str, int] = {}

    def add(self, image: AnsweredImage) -> None:
        """Take in what was answered about one more image."""
        row = len(self.names)
        if not row % STEP:
            self._progress("reading answers", row, self._n)
        self.names.append(image.name)
        self.groups.append(image.group)
        for answer in image.answers:
            if (answer.agent, answer.stage) not in self.raw:
                continue
            if answer.shares is not None:
                self.raw[answer.agent, answer.stage][row] = self._reader.in_order(answer.shares)
                continue
            prediction = self._reader.prediction(answer.agent, answer.stage, answer)
            self.raw[answer.agent, answer.stage][row] = raw_answer(prediction)
            if prediction.error is not None:
                self.foreign[answer.agent] = self.foreign.get(answer.agent, 0) + 1


def task_of_labels(labels: Iterable[str]) -> Task:
    """Return the task of these labels in natural order, each in its first spelling."""
    spelled: dict[str, str] = {}
    for label in labels:
        spelled.setdefault(plain(label), label)
    return Task.from_labels(sorted(spelled.values(), key=natural_order))


def foreign_words(foreign: Mapping[str, int]) -> tuple[str, ...]:
    """Return how many answers of each agent named none of the labels, a sentence each."""
    return tuple(
        f"{counted(count, 'answer')} of '{agent}' that name none of the labels" for agent, count in foreign.items()
    )
