"""What the fusion said of labelled images that it was not fitted on: what a policy is chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from consilience.orchestrator.decision.conformal import LabelSets
from consilience.orchestrator.ensemble.trust_metrics import OVERCONFIDENT

MIN_JUDGED_POSTERIOR = OVERCONFIDENT
"""Nothing is called confident that the overconfidence ratio would not count as such."""


@dataclass(frozen=True)
class CalibrationSet:
    """The fusion's predictions for labelled images, out of fold: what thresholds and prediction sets are chosen on.

    Attributes:
        probability: posterior of the named label, float (n,).
        correct: whether it was right, bool (n,).
        posterior: of all labels, float (n, c).
        labels: the true labels, int (n,).
        again: by agent, the same of the same images with the agent's second look in the place of its first.
        groups: number of the group (the thing shown) of each image, int (n,).
    """

    probability: np.ndarray
    correct: np.ndarray
    posterior: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    again: Mapping[str, CalibrationSet] = field(default_factory=dict)

    @classmethod
    def of(cls, posterior: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Return that of a posterior (n, c), from what was fitted without these images, and true labels, int (n,).

        Args:
            groups: int (n,); None: each image is a group of its own.
        """
        groups = np.arange(len(labels)) if groups is None else groups
        return cls(posterior.max(axis=1), posterior.argmax(axis=1) == labels, posterior, labels, groups)

    def take(self, rows: np.ndarray) -> CalibrationSet:
        """Return the part for some images, without what second looks made of them."""
        return CalibrationSet(
            self.probability[rows], self.correct[rows], self.posterior[rows], self.labels[rows], self.groups[rows]
        )

    def sets(self, coverage: float) -> LabelSets:
        """Return which labels may be excluded at a coverage in [0, 1]."""
        of_truth = self.posterior[np.arange(len(self.labels)), self.labels]
        return LabelSets.calibrated(of_truth, self.labels, self.posterior.shape[1], coverage)

    def settled_by(self, sets: LabelSets) -> np.ndarray:
        """Return of which images one label is left, with a posterior of MIN_JUDGED_POSTERIOR at least, bool (n,)."""
        return np.asarray((sets.of(self.posterior).sum(axis=1) == 1) & (self.probability >= MIN_JUDGED_POSTERIOR))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`."""
        return {
            "probability": self.probability.tolist(),
            "correct": self.correct.tolist(),
            "posterior": self.posterior.tolist(),
            "labels": self.labels.tolist(),
            "groups": self.groups.tolist(),
            "n_labels": self.posterior.shape[1],  # there may be no images
            "again": {agent: calibration_set.to_dict() for agent, calibration_set in self.again.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned."""
        return cls(
            probability=np.array(data["probability"], np.float64),
            correct=np.array(data["correct"], bool),
            posterior=np.array(data["posterior"], np.float64).reshape(-1, data["n_labels"]),
            labels=np.array(data["labels"], np.intp),
            groups=np.array(data["groups"], np.intp),
            again={agent: cls.from_dict(entry) for agent, entry in data["again"].items()},
        )

    @classmethod
    def none(cls) -> Self:
        """Return the calibration set of no images."""
        return cls.of(np.empty((0, 1)), np.empty(0, np.intp))
