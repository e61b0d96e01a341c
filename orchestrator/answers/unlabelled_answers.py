"""The answers of a table whose truth is not known, as arrays: what `fit_answers(..., truth=False)` learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np

from consilience.core.errors import DatasetError
from consilience.core.progress import Progress
from consilience.core.render.phrases import counted
from consilience.core.sources.answers import AnswerSource
from consilience.core.task import Task, plain
from consilience.orchestrator.answers.raw_looks import RawLooks, foreign_words, task_of_labels


@dataclass(frozen=True)
class UnlabelledAnswers:
    """What a agents answered at first about n images; a truth is not looked at.

    Attributes:
        task: names the c labels.
        names: of the images.
        agents: each shares an image with another one.
        raw: answers (a, n, c), rows of NaN where there is none.
        left_out: agents that share no image with another one.
        foreign: by agent, how many of its answers named none of the labels.
        truths, revised: images with a truth, and agents with revised answers: neither is looked at.
    """

    task: Task
    names: list[str]
    agents: tuple[str, ...]
    raw: np.ndarray
    left_out: tuple[str, ...]
    foreign: Mapping[str, int]
    truths: int
    revised: tuple[str, ...]

    @classmethod
    def read(cls, source: AnswerSource, task: Task | None, progress: Progress) -> Self:
        """Read the first answers of a source.

        Args:
            source: where the answers come from.
            task: whose labels they are; None: those that have probabilities, or else that two agents named.
            progress: is told how far the work is.

        Raises:
            DatasetError: there is one agent only, no two answered the same image, or they name fewer than two labels.
        """
        if len(source.agents) < 2:
            raise DatasetError(
                f"{source.name}: '{source.agents[0]}' is the only agent, and nobody can agree with it; give the "
                "answers of another one, or the truth of some images"
            )
        task = task or _task_of(source)
        looks = RawLooks(source, task, [(agent, "first") for agent in source.agents], len(source), progress)
        for image in source.images():
            looks.add(image)
        raw = np.stack([looks.raw[agent, "first"] for agent in source.agents])
        answered = np.isfinite(raw).all(axis=2)
        shares_images = (answered & (answered.sum(axis=0) > 1)).any(axis=1)
        if not shares_images.any():
            raise DatasetError(
                f"{source.name}: no two agents answered the same image with one of the labels {', '.join(task.names)}, "
                "so that nothing shows how far they agree"
            )
        shared = raw[:, answered.sum(axis=0) > 1]
        if len(only := np.unique(shared[np.isfinite(shared).all(axis=2)].argmax(axis=1))) < 2:
            raise DatasetError(
                f"{source.name}: every answer on an image of several is '{task.names[only[0]]}'; nothing shows who can "
                "tell it from another label"
            )
        return cls(
            task,
            looks.names,
            tuple(agent for agent, is_in in zip(source.agents, shares_images, strict=True) if is_in),
            raw[shares_images],
            tuple(agent for agent, is_in in zip(source.agents, shares_images, strict=True) if not is_in),
            looks.foreign,
            sum(source.truths.values()),
            tuple(source.revising),
        )

    def asides(self) -> tuple[str, ...]:
        """Return what is to be said of answers that did not count, a sentence each."""
        truths = f"the truth of {counted(self.truths)}: without --no-truth, trust is measured on them"
        revised = f"the revised answers of {', '.join(self.revised)}: without truth, first answers alone count"
        return (
            *([truths] if self.truths else []),
            *([revised] if self.revised else []),
            *foreign_words(self.foreign),
        )


def _task_of(source: AnswerSource) -> Task:
    """Return the task of the labels that have probabilities, or else of those that two agents named."""
    labels = [*chain.from_iterable(source.label_sets)] or _named_by_two(source)
    if len({plain(label) for label in labels}) < 2:
        known = f"only '{labels[0]}' is" if labels else "no label is"
        raise DatasetError(f"{source.name}: {known} named by two agents; two must be, or give the labels as a task")
    return task_of_labels(labels)


def _named_by_two(source: AnswerSource) -> list[str]:
    """Return what two agents named; nobody can agree with what one alone names, such as "I cannot tell"."""
    named_by: dict[str, set[str]] = {}
    words: dict[str, str] = {}
    for image in source.images():
        for answer in image.answers:
            if answer.stage == "first" and answer.label:
                words.setdefault(word := plain(answer.label), answer.label)
                named_by.setdefault(word, set()).add(answer.agent)
    return [words[word] for word, agents in named_by.items() if len(agents) > 1]
