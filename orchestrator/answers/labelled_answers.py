"""The labelled images of a table of answers, as arrays: what a panel is fitted on where no image is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Self

import numpy as np

from consilience.core.errors import DatasetError
from consilience.core.prediction import Stage
from consilience.core.progress import Progress
from consilience.core.sources.answers import AnswerSource
from consilience.core.task import Task
from consilience.orchestrator.answers.raw_looks import RawLooks, task_of_labels
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.fitting.collect import MemberAnswers


@dataclass(frozen=True)
class LabelledAnswers:
    """What agents answered about n images whose true label is known.

    Attributes:
        task: names the c labels.
        names: of the images.
        labels: the true labels, as places in the task's order, int (n,).
        groups: of the images; None where none is given.
        looks: by agent and stage, raw answers (n, c), rows of NaN where there is none; first looks before second looks.
        unlabelled: how many images had no true label, and are left out.
        foreign: by agent, how many of its answers named none of the labels.
    """

    task: Task
    names: list[str]
    labels: np.ndarray
    groups: list[str | None]
    looks: Mapping[tuple[str, Stage], np.ndarray]
    unlabelled: int = 0
    foreign: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, source: AnswerSource, task: Task | None, progress: Progress) -> Self:
        """Read the labelled images of a source.

        Args:
            source: where the answers come from.
            task: whose labels they are; None: all that are true, or that have probabilities.
            progress: is told how far the work is.

        Raises:
            DatasetError: fewer than two labels are true, or one is not the task's; names the row.
        """
        if REASONER in source.agents:
            raise DatasetError(f"{source.name}: '{REASONER}' is the name of the reasoner: give that agent another name")
        _check_truths(source, task)
        task = task or task_of_labels([*chain.from_iterable(source.label_sets), *source.truths])
        n = sum(source.truths.values())
        wanted: list[tuple[str, Stage]] = [(agent, "first") for agent in source.agents]
        wanted += [(agent, "second") for agent in source.revising]
        looks, labels = RawLooks(source, task, wanted, n, progress), np.empty(n, np.intp)
        place = {name: number for number, name in enumerate(task.names)}
        meant = {truth: task.find(truth) for truth in source.truths}
        for image in source.images():
            if image.truth is None:
                continue
            if (truth := meant[image.truth]) is None:
                raise DatasetError(
                    f"{source.name}, row {image.row}: the truth '{image.truth}' is no label of the task, which knows "
                    f"{', '.join(task.names)}; correct the row, or add the name to the task"
                )
            labels[len(looks.names)] = place[truth]
            looks.add(image)
        return cls(task, looks.names, labels, looks.groups, looks.raw, len(source) - n, looks.foreign)

    def take(self, rows: np.ndarray) -> Self:
        """Return the images of these rows (indices, or a mask)."""
        chosen = np.arange(len(self.names))[rows].tolist()
        return replace(
            self,
            names=[self.names[row] for row in chosen],
            labels=self.labels[rows],
            groups=[self.groups[row] for row in chosen],
            looks={look: raw[rows] for look, raw in self.looks.items()},
        )

    def member_answers(self) -> list[MemberAnswers]:
        """Return the answers of each look, with the calibrators that suit them."""
        return [MemberAnswers.as_given(agent, stage, raw) for (agent, stage), raw in self.looks.items()]


def _check_truths(source: AnswerSource, task: Task | None) -> None:
    if not source.truths:
        raise DatasetError(f"{source.name}: no image has a truth; give the true label of some images as 'truth'")
    if len(only := {(task and task.find(truth)) or truth for truth in source.truths}) < 2:
        raise DatasetError(
            f"{source.name}: every truth is '{only.pop()}'; give images of another label, too, else nothing shows who "
            "can tell them apart"
        )
