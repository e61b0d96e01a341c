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
    """What the fusion said of labelled images out of fold: what thresholds are chosen on.

    Attributes:
        probability: posterior of the named label, float (n,).
        correct: whether it was right, bool (n,).
        again: by agent, the same of the same images with the agent's second look in the place of its first.
        posterior, labels: of all labels, float (n, c), and the true ones, int (n,); None in panels that were written
            before prediction sets were conformal.
    """

    probability: np.ndarray
    correct: np.ndarray
    again: Mapping[str, CalibrationSet] = field(default_factory=dict)
    posterior: np.ndarray | None = None
    labels: np.ndarray | None = None

    @classmethod
    def of(cls, posterior: np.ndarray, labels: np.ndarray) -> Self:
        """Of a posterior (n, c) and the true labels, int (n,)."""
        right = posterior.argmax(axis=1) == labels
        return cls(posterior.max(axis=1), right, posterior=posterior, labels=labels)

    def take(self, rows: np.ndarray) -> CalibrationSet:
        """The outcomes of some images, without those of second looks."""
        posterior, labels = (None if array is None else array[rows] for array in (self.posterior, self.labels))
        return CalibrationSet(self.probability[rows], self.correct[rows], {}, posterior, labels)

    def sets(self, coverage: float) -> LabelSets | None:
        """What may be excluded; None where nothing is known of the labels."""
        if self.posterior is None or self.labels is None:
            return None
        of_truth = self.posterior[np.arange(len(self.labels)), self.labels]
        return LabelSets.calibrated(of_truth, self.labels, self.posterior.shape[1], coverage)

    def settled_by(self, sets: LabelSets) -> np.ndarray:
        """Which of the images one label is left of, with a posterior of LEAST, bool (n,)."""
        if self.posterior is None:
            raise ValueError("without the posteriors of all labels nothing is known of sets")
        return np.asarray((sets.of(self.posterior).sum(axis=1) == 1) & (self.probability >= MIN_JUDGED_POSTERIOR))

    def to_dict(self) -> dict[str, Any]:
        again = {agent: calibration_set.to_dict() for agent, calibration_set in self.again.items()}
        data = {"probability": self.probability.tolist(), "correct": self.correct.tolist(), "again": again}
        if self.posterior is not None and self.labels is not None:
            shares, n_labels = self.posterior.tolist(), self.posterior.shape[1]
            data |= {"posterior": shares, "labels": self.labels.tolist(), "n_labels": n_labels}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        again = {agent: cls.from_dict(entry) for agent, entry in data.get("again", {}).items()}
        probability, correct = np.array(data["probability"], np.float64), np.array(data["correct"], bool)
        if "posterior" not in data:
            return cls(probability, correct, again)
        posterior = np.array(data["posterior"], np.float64).reshape(-1, data["n_labels"])  # there may be no images
        labels = np.array(data["labels"], np.intp)
        return cls(probability, correct, again, posterior, labels)


NOTHING = CalibrationSet(np.empty(0), np.empty(0, dtype=bool))
