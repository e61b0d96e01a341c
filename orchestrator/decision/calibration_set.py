"""What the fusion said of labelled images that it was not fitted on: what a policy is chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from consilience.orchestrator.decision.conformal import LabelSets, images_needed
from consilience.orchestrator.ensemble.fusion import with_prior
from consilience.orchestrator.ensemble.trust_metrics import OVERCONFIDENT
from consilience.orchestrator.grouping.group_weights import group_weights
from consilience.orchestrator.in_use.costs import Costs
from consilience.orchestrator.in_use.frequencies import shares_of
from consilience.orchestrator.in_use.worth import Worth, worth_of

MIN_JUDGED_POSTERIOR = OVERCONFIDENT
"""Nothing is called confident that the overconfidence ratio would not count as such."""

SAMPLE_SEED = (1951, 2002)
"""Of the images that are kept where labels occur otherwise in use: no seed that anybody else draws with."""


@dataclass(frozen=True)
class CalibrationSet:
    """The fusion's predictions for labelled images, out of fold: what thresholds and prediction sets are chosen on.

    Attributes:
        probability: posterior of the named label, float (n,).
        correct: whether it was right, bool (n,).
        posterior: of all labels, float (n, c).
        labels: the true labels, int (n,).
        groups: number of the group (the thing shown) of each image, int (n,).
        again: by agent, the same of the same images with the agent's second look in the place of its first.
        ratio: by label, its share in use over its share among these images, float (c,), by which the posterior was
            scaled; None: labels occur as here. group_ratio: the same, each group counting one.
        costs: what names a label and settles an image, in the place of sets and thresholds; None: those do.
    """

    probability: np.ndarray
    correct: np.ndarray
    posterior: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    again: Mapping[str, CalibrationSet] = field(default_factory=dict)
    ratio: np.ndarray | None = None
    group_ratio: np.ndarray | None = None
    costs: Costs | None = None

    @classmethod
    def of(cls, posterior: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Return that of a posterior (n, c), from what was fitted without these images, and true labels, int (n,).

        Args:
            groups: int (n,); None: each image is a group of its own.
        """
        groups = np.arange(len(labels)) if groups is None else groups
        return cls(posterior.max(axis=1), posterior.argmax(axis=1) == labels, posterior, labels, groups)

    def in_use(self, shares: np.ndarray | None, costs: Costs | None) -> CalibrationSet:
        """Return the same images as they count where labels occur in other shares, and mistakes have a price.

        Args:
            shares: of the labels in use, float (c,), sum 1; None: as here.
            costs: None: every mistake is the same.
        """
        if shares is None:
            return self if costs is None else self._in_use(None, None, costs)
        of_groups = shares / shares_of(self.labels, len(shares), group_weights(self.groups))
        is_shown = np.bincount(self.labels, minlength=len(shares)) > 0
        of_groups = np.minimum(of_groups, of_groups[is_shown].max(initial=1.0))
        return self._in_use(shares / shares_of(self.labels, len(shares)), of_groups, costs)

    def _in_use(self, ratio: np.ndarray | None, group_ratio: np.ndarray | None, costs: Costs | None) -> CalibrationSet:
        posterior = with_prior(ratio, self.posterior)
        named = posterior.argmax(axis=1) if costs is None else costs.best(posterior)
        return replace(
            self,
            posterior=posterior,
            probability=posterior[np.arange(len(named)), named],
            correct=named == self.labels,
            again={agent: again._in_use(ratio, group_ratio, costs) for agent, again in self.again.items()},
            ratio=ratio,
            group_ratio=group_ratio,
            costs=costs,
        )

    @property
    def named(self) -> np.ndarray:
        """Return the label that the panel names for each image, int (n,)."""
        return self.posterior.argmax(axis=1) if self.costs is None else self.costs.best(self.posterior)

    @property
    def weights(self) -> np.ndarray:
        """Return how much each image counts in a figure, float (n,): each group one, each label as often as in use."""
        weights = group_weights(self.groups)
        return weights if self.group_ratio is None else weights * self.group_ratio[self.labels]

    @property
    def unit(self) -> str:
        """Return what is counted: "images", or "things" where some images show the same one."""
        return "images" if self.n_groups == len(self.groups) else "things"

    @property
    def n_groups(self) -> int:
        """Return the number of groups."""
        return len(np.unique(self.groups))

    def take(self, rows: np.ndarray) -> CalibrationSet:
        """Return the part for some images, without what second looks made of them."""
        columns = (self.probability, self.correct, self.posterior, self.labels, self.groups)
        part = CalibrationSet(*(column[rows] for column in columns))
        return replace(part, ratio=self.ratio, group_ratio=self.group_ratio, costs=self.costs)

    def as_in_use(self) -> CalibrationSet:
        """Return a part in which labels occur as in use: images are kept by chance, the same ones each time."""
        if self.group_ratio is None:
            return self
        chance = self.group_ratio / self.group_ratio.max()
        kept = np.random.default_rng(SAMPLE_SEED).random(len(self.labels)) < chance[self.labels]
        return self.take(kept)

    def figures(self, settled: np.ndarray) -> tuple[float, float]:
        """Return which share of the images is settled, bool (n,), and which share of those is right; 0 without any."""
        weights = self.weights
        of_settled = weights[settled].sum()
        right = weights[settled & self.correct].sum()
        return float(of_settled / (weights.sum() or 1.0)), float(right / (of_settled or 1.0))

    def worths(self, settled: np.ndarray) -> tuple[Worth, ...]:
        """Return by label what it means in use that an image is settled as it; `settled`: bool (n,)."""
        n_labels, weights = self.posterior.shape[1], self.weights
        counts = np.bincount(self.labels, weights, n_labels)
        return tuple(worth_of(self.labels, self.named, settled, self.groups, counts / (counts.sum() or 1.0)))

    def sets(self, coverage: float) -> LabelSets:
        """Return which labels may be excluded at a coverage in [0, 1]."""
        of_truth = self.posterior[np.arange(len(self.labels)), self.labels]
        return LabelSets.calibrated(
            of_truth, self.labels, self.posterior.shape[1], coverage, self.groups, self.group_ratio
        )

    def settled_by(self, sets: LabelSets) -> np.ndarray:
        """Return which images are settled, bool (n,).

        Those of which one label is left, with a posterior of MIN_JUDGED_POSTERIOR at least; or, where there are costs,
        those whose label is expected to cost less than a person.
        """
        if self.costs is not None:
            return self.costs.is_settled(self.posterior)
        return np.asarray((sets.of(self.posterior).sum(axis=1) == 1) & (self.probability >= MIN_JUDGED_POSTERIOR))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`: the images as they are, whatever holds in use."""
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


def sets_again(first: CalibrationSet, second: CalibrationSet, coverage: float) -> LabelSets:
    """Return the sets of diagnoses in which an agent has looked again.

    Only what the first looks did not settle is looked at again, so that is calibrated on alone; where it is too little,
    all second looks are, and the coverage is then only near the wished.
    """
    sets, enough = first.sets(coverage), images_needed(coverage)
    if enough is None:
        return second.sets(coverage)
    is_open = ~first.settled_by(sets)
    left = second.take(is_open)
    return (left if left.n_groups >= enough else second).sets(coverage)
