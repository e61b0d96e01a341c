"""What agents state that name labels: one with or without a number, or several (`agents.ranking`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.agents.ranking import SAME, ranked

SUREST = 0.99
"""A stated number counts up to here: some say 1 whatever they see."""


@dataclass(frozen=True)
class Statements:
    """What n answers state, m of them: one of each answer, and of labels that are equally likely one of each.

    Attributes:
        row: which answer it is of, int (m,). first: the label, int (m,). share: of the answer, (m,).
        odds: the log odds of the number that is stated for it, (m,).
        later: of each label that is named after it, how much it rises: 1 for the next place, then half, (m, c).
    """

    row: np.ndarray
    first: np.ndarray
    share: np.ndarray
    odds: np.ndarray
    later: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray) -> Self:
        """Return the statements in rows of (n, c) without NaN."""
        n, c = probabilities.shape
        firsts, later = one_hot(probabilities.argmax(axis=1), c), np.zeros((n, c))
        if (several := ranked(probabilities)).any():
            later[several] = probabilities[several]
            firsts[several] = later[several] > later[several].max(axis=1, keepdims=True) - SAME
        row, first = np.nonzero(firsts)
        later = later[row]
        later[np.arange(len(row)), first] = 0.0
        later /= np.maximum(later.max(axis=1, keepdims=True), 1e-12)
        return cls(row, first, 1 / firsts.sum(axis=1)[row], log_odds_of_the_named(probabilities)[row], later)

    def take(self, chosen: np.ndarray) -> Statements:
        """Return those for which `chosen`, bool (m,), is true."""
        return Statements(*(values[chosen] for values in vars(self).values()))

    def counts(self, truths: np.ndarray) -> np.ndarray:
        """Return how often x was named where y was true, (c, c) [y, x]; truths are of the statements, int (m,)."""
        c = self.later.shape[1]
        return np.bincount(truths * c + self.first, self.share, c * c).reshape(c, c)

    def with_later(self, logs: np.ndarray, rise: float) -> np.ndarray:
        """Return log probabilities (m, c) with more for the labels named later; the first keeps what it has."""
        if not self.later.any():
            return logs
        others = np.where(one_hot(self.first, logs.shape[1]) > 0, -np.inf, logs)
        raised = others + rise * self.later
        before, after = (np.logaddexp.reduce(each, axis=1, keepdims=True) for each in (others, raised))
        return np.where(np.isfinite(raised), raised + before - after, logs)

    def with_first(self, logs: np.ndarray, rise: np.ndarray) -> np.ndarray:
        """Return the probabilities (m, c) of logarithms (m, c), those of the first labels raised by (m,)."""
        return softmax(logs + one_hot(self.first, logs.shape[1]) * rise[:, None])

    def of_answers(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the probabilities of the answers, (n, c), given those of the statements, (m, c)."""
        mixed = np.zeros((int(self.row.max(initial=-1)) + 1, probabilities.shape[1]))
        np.add.at(mixed, self.row, self.share[:, None] * probabilities)
        return mixed


def log_odds_of_the_named(probabilities: np.ndarray) -> np.ndarray:
    """Return the log odds of each row's greatest probability, (n,), up to those of SUREST."""
    stated = np.clip(probabilities.max(axis=1), 1 - SUREST, SUREST)
    return np.asarray(np.log(stated / (1 - stated)))
