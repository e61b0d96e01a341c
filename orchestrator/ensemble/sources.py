"""The sources of a panel's looks: heads that read the same features are one, and so are the looks of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from consilience.orchestrator.ensemble.error_covariance import ErrorPrior, error_covariance, min_variance_weights
from consilience.orchestrator.ensemble.pool_weights import without_the_missing


@dataclass(frozen=True)
class Sources:
    """Where the looks come from, and how their sources relate.

    Attributes:
        of_look: number of each look's source, int (a,).
        covariance: (a, a), how the errors of looks of one source vary together.
        total: (s,), the sum of the weights within a source where several of its looks speak.
        weight: (s,), of each source where all speak at first.
        spread: (s,), standard deviation of its evidence. correlation: of the errors of any two, [0, 1).
    """

    of_look: np.ndarray
    covariance: np.ndarray
    total: np.ndarray
    weight: np.ndarray
    spread: np.ndarray
    correlation: float = 0.0

    def weights(self, base: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Return how much each look counts, (n, a), given `present`, bool (n, a), and weights `base` (a,)."""
        looks = np.eye(len(self.total))[self.of_look]  # (a, s)
        counts = present @ looks
        as_they_speak = (present * base) @ looks / np.maximum(counts, 1)
        of_source = without_the_missing(as_they_speak, self.weight, self.spread, self.correlation, counts > 0)
        return np.asarray(self._shares(present, counts) * of_source[:, self.of_look])

    def _shares(self, present: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the weight of each look within its source, (n, a): 1 for the only one that speaks."""
        shares = present.astype(np.float64)
        for source in np.flatnonzero((counts > 1).any(axis=0)):
            looks = np.flatnonzero(self.of_look == source)
            for who in np.unique(present[:, looks], axis=0):
                here = looks[who]
                if len(here) > 1:
                    rows = np.flatnonzero((present[:, looks] == who).all(axis=1))
                    within = min_variance_weights(self.covariance[np.ix_(here, here)])
                    shares[np.ix_(rows, here)] = self.total[source] * within
        return shares

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned."""
        return cls(
            np.array(data["of_look"], np.intp),
            np.array(data["covariance"], np.float64),
            np.array(data["total"], np.float64),
            np.array(data["weight"], np.float64),
            np.array(data["spread"], np.float64),
            float(data["correlation"]),
        )


def covariance_within_sources(probabilities: np.ndarray, labels: np.ndarray, prior: ErrorPrior) -> np.ndarray:
    """Return how the errors of looks vary together, (a, a), measured for those whose source has several."""
    covariance = np.eye(len(probabilities))
    several = np.flatnonzero(np.bincount(prior.sources, minlength=1)[prior.sources] > 1)
    if len(several):
        at = np.ix_(several, several)
        known = replace(
            prior,
            covariance=prior.covariance[at],
            pseudo_counts=prior.pseudo_counts[several],
            sources=prior.sources[several],
        )
        covariance[at] = error_covariance(probabilities[several], labels, known)
    return covariance
