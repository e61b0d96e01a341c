"""What mistakes and questions cost, and the answer that costs least: Bayes' rule (Chow 1970 with a reject option)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.core.errors import SettingsError
from consilience.core.settings.decision_settings import CostSettings
from consilience.core.settings.settings_problem import nearest

SETTING = "decision.costs"

SAME = 1e-12
"""Expected costs that differ by less than this share of the greatest cost are equal: the more probable label wins."""


@dataclass(frozen=True)
class Costs:
    """What each answer costs, in any unit.

    Attributes:
        mistakes: float (c, c), at least 0: by true label (rows) and said label (columns).
        person: of asking a person, who is taken to be right; at least 0, in the same unit.
    """

    mistakes: np.ndarray
    person: float

    @classmethod
    def of(cls, settings: CostSettings, names: Sequence[str]) -> Self | None:
        """Return the costs of a panel with these labels; None where none are set.

        Raises:
            SettingsError: a label is missing or unknown.
        """
        costs, person, matrix = settings.mistakes, settings.person, np.zeros((len(names), len(names)))
        if costs is None or person is None:
            return None
        if not isinstance(costs, Mapping):
            matrix[:] = costs
            np.fill_diagonal(matrix, 0.0)
            return cls(matrix, person)
        _check(costs, names, "each label must have one: what it costs to say another in its place")
        for true, name in enumerate(names):
            row = costs[name]
            if isinstance(row, Mapping):
                _check(row, names, f"every other label must have one where the truth is '{name}'", but=name)
                matrix[true] = [row.get(said, 0.0) for said in names]
            else:
                matrix[true] = row
                matrix[true, true] = 0.0
        return cls(matrix, person)

    def expected(self, posterior: np.ndarray) -> np.ndarray:
        """Return what saying each label is expected to cost at a posterior (n, c), float (n, c)."""
        return np.asarray(posterior @ self.mistakes)

    def best(self, posterior: np.ndarray) -> np.ndarray:
        """Return the label that is expected to cost least at a posterior (n, c), int (n,)."""
        expected = self.expected(posterior)
        least = expected.min(axis=1, keepdims=True) + SAME * max(float(self.mistakes.max(initial=0.0)), 1.0)
        return np.asarray(np.where(expected <= least, posterior, -1.0).argmax(axis=1))

    def is_settled(self, posterior: np.ndarray) -> np.ndarray:
        """Return where the best label is expected to cost less than a person, bool (n,)."""
        return np.asarray(self.expected(posterior).min(axis=1) < self.person)

    def figures(
        self,
        labels: np.ndarray,
        named: np.ndarray,
        most_probable: np.ndarray,
        settled: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> CostFigures | None:
        """Return what images of known labels cost; None without images.

        Args:
            labels, named, most_probable: the true label, the panel's and the most probable one, int (n,).
            settled: bool (n,).
            weights: how much each image counts, float (n,); None: all the same.
        """
        if not len(labels):
            return None
        of_named = self.mistakes[labels, named]
        each = {
            "cost": np.where(settled, of_named, self.person),
            "always": np.full(len(labels), self.person),
            "never": of_named,
            "most_probable": self.mistakes[labels, most_probable],
        }
        return CostFigures(**{name: float(np.average(cost, weights=weights)) for name, cost in each.items()})


@dataclass(frozen=True)
class CostFigures:
    """What an image costs on average, in the unit of the settings.

    Attributes:
        cost: as the panel decides, a person asked where it refers.
        always: if a person is always asked. never: if the label of least expected cost is always taken.
        most_probable: if the most probable label is always taken.
    """

    cost: float
    always: float
    never: float
    most_probable: float


def _check(costs: Mapping[str, object], names: Sequence[str], wanted: str, but: str | None = None) -> None:
    """Raise SettingsError unless the costs name each label, except one that may be missing."""
    for name in costs:
        if name not in names:
            raise SettingsError(f"{SETTING}.mistakes names '{name}', which is no label{nearest(name, names)}")
    if missing := [name for name in names if name not in costs and name != but]:
        raise SettingsError(f"{SETTING}.mistakes has no cost for {', '.join(map(repr, missing))}: {wanted}")
