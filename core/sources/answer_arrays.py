"""Answers of agents that stand in arrays already."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import DatasetError
from consilience.core.prediction import Stage
from consilience.core.sources.answer_cells import ROUNDED
from consilience.core.sources.answers import Answer, AnsweredImage, AnswerSource

Shares = NDArray[np.floating]


class AnswerArrays(AnswerSource):
    """What agents answered about images, as arrays of probabilities.

    Args:
        shares: float (agents, images, labels), rows that sum to 1; rows of NaN where an agent gave no answer.
        labels: name of each label.
        truth: name of each image's true label, None where it is not known; default: none is known.
        agents: name of each agent; default: agent-1, agent-2, ...
        names: name of each image; default: 1, 2, ...
        groups: name of the thing that each image shows; default: each another one.
        revised: as `shares`, what agents said when they had seen evidence; None: nobody did.

    Raises:
        DatasetError: shapes that do not fit, a name twice, or a row that is no distribution; says which.

    >>> answers = AnswerArrays(np.array([[[0.9, 0.1]], [[0.4, 0.6]]]), ["rust", "scab"], ["rust"])
    >>> [(image.name, len(image.answers), image.truth) for image in answers.images()]
    [('1', 2, 'rust')]
    """

    name = "the answers"

    def __init__(
        self,
        shares: Shares,
        labels: Sequence[str],
        truth: Sequence[str | None] = (),
        *,
        agents: Sequence[str] = (),
        names: Sequence[str] = (),
        groups: Sequence[str | None] = (),
        revised: Shares | None = None,
    ) -> None:
        self._looks: list[tuple[Stage, Shares]] = [("first", np.asarray(shares, np.float64))]
        if revised is not None:
            self._looks.append(("second", np.asarray(revised, np.float64)))
        shape = self._looks[0][1].shape
        if len(shape) != 3 or any(values.shape != shape for _, values in self._looks):
            raise DatasetError(f"the answers are of shape {shape}, not (agents, images, labels)")
        a, n, c = shape
        self._labels = [*labels]
        self.label_sets = [tuple(labels)]
        self.agents = [*agents] or [f"agent-{number}" for number in range(1, a + 1)]
        self._names = [*names] or [str(number) for number in range(1, n + 1)]
        self._truth, self._groups = [*truth] or [None] * n, [*groups] or [None] * n
        for called, given, count in (
            ("labels", self._labels, c),
            ("agents", self.agents, a),
            ("names", self._names, n),
            ("truth", self._truth, n),
            ("groups", self._groups, n),
        ):
            if len(given) != count:
                raise DatasetError(f"{len(given)} {called} for answers of shape {shape} (agents, images, labels)")
            if called in ("labels", "agents", "names") and len(set(given)) != count:
                raise DatasetError(f"a name stands twice among the {called}: '{Counter(given).most_common(1)[0][0]}'")
        self.revising = self._check_shares()
        self._looks = [(stage, values / values.sum(axis=2, keepdims=True)) for stage, values in self._looks]
        self.truths = Counter(label for label in self._truth if label is not None)

    def __len__(self) -> int:
        return len(self._names)

    def images(self) -> Iterator[AnsweredImage]:
        """Yield the images in their order."""
        for row, (name, truth, group) in enumerate(zip(self._names, self._truth, self._groups, strict=True)):
            answers = tuple(
                Answer(agent, stage, shares=dict(zip(self._labels, own, strict=True)))
                for stage, values in self._looks
                for agent, own in zip(self.agents, values[:, row].tolist(), strict=True)
                if not math.isnan(own[0])
            )
            yield AnsweredImage(name, answers, truth, group, row + 1)

    def _check_shares(self) -> list[str]:
        """Check that each row is a distribution, or only NaN, and return the agents with second looks."""
        revising: list[str] = []
        for stage, values in self._looks:
            silent = np.asarray(np.isnan(values).all(axis=2))
            inside = ((values >= 0) & (values <= 1 + ROUNDED)).all(axis=2)  # false for NaN and infinities
            wrong = ~silent & ~(inside & (np.abs(values.sum(axis=2) - 1) <= ROUNDED))
            if wrong.any():
                agent, row = np.argwhere(wrong)[0].tolist()
                raise DatasetError(
                    f"the answer of '{self.agents[agent]}' on the image '{self._names[row]}' (row {row + 1}) is "
                    f"{np.array2string(values[agent, row], threshold=8)}; give numbers in [0, 1] that sum to 1, or "
                    "only NaN for no answer"
                )
            if stage == "second":
                revising = [self.agents[place] for place in np.flatnonzero(~silent.all(axis=1)).tolist()]
        return revising
