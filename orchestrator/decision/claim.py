"""What a panel may claim of images that it has not seen: accuracy, settled share, accuracy of the settled, coverage.

Everything is measured on out-of-fold posteriors, and thresholds are chosen on other groups than those they are judged
on (cross-conformal prediction, Vovk 2015). The unit is the group (the images of one thing): each weighs one, however
many images it has, as in the two-layer model of Dunn, Wasserman and Ramdas 2022. So the claim is for new things of the
kind that the labelled ones are drawn from; of images from elsewhere it says nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from consilience.agents.heads.folds import stratified_folds
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.conformal import with_top
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.grouping.group_weights import group_weights, worth_in_groups
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping

FOLDS = 10
"""Parts of the labelled groups; the thresholds that judge one are chosen on the others."""

CONFIDENCE = 0.95
"""Of the interval."""


@dataclass(frozen=True)
class Claim:
    """What to expect of new images, each group weighing one. Shares are in [0, 1].

    Attributes:
        accuracy: share of right labels.
        interval: where the accuracy of another set of as many groups lies, with a probability of CONFIDENCE.
        settled: share of images that are settled without a person.
        settled_accuracy: share of right labels among those; None where none is settled.
        coverage: share of images whose prediction set holds the true label.
        images, groups: how many the claim rests on.
        grouping: where the groups come from: "given", "found" or "none".
        ungrouped_accuracy: what the accuracy would look like if images of one group stood on both sides of a split;
            None where no two images are of one group.
    """

    accuracy: float
    interval: tuple[float, float]
    settled: float
    settled_accuracy: float | None
    coverage: float
    images: int
    groups: int
    grouping: str
    ungrouped_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return asdict(self) | {"interval": list(self.interval)}


def claim_of(
    calibration_set: CalibrationSet,
    settings: PolicySettings,
    grouping: Grouping = NO_GROUPING,
    ungrouped_accuracy: float | None = None,
) -> Claim | None:
    """Return the claim that labelled images support; None where none of them could be judged."""
    groups = calibration_set.groups
    if not len(groups):
        return None
    is_settled, is_covered = out_of_group(calibration_set, settings)
    weights = calibration_set.weights / calibration_set.weights.sum()
    settled = float(weights @ is_settled)
    return Claim(
        accuracy=float(weights @ calibration_set.correct),
        interval=accuracy_of_as_many_groups(calibration_set.correct, groups, weights),
        settled=settled,
        settled_accuracy=float(weights @ (is_settled & calibration_set.correct)) / settled if settled else None,
        coverage=float(weights @ is_covered),
        images=len(groups),
        groups=len(np.unique(groups)),
        grouping=grouping.how,
        ungrouped_accuracy=ungrouped_accuracy,
    )


def out_of_group(calibration_set: CalibrationSet, settings: PolicySettings) -> tuple[np.ndarray, np.ndarray]:
    """Return which images are settled, and whose prediction set holds their label, bool (n,), by the other groups."""
    labels = calibration_set.labels
    is_settled, is_covered = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=bool)
    folds = stratified_folds(labels, FOLDS, 0, calibration_set.groups)
    for fold in np.unique(folds):
        here = np.flatnonzero(folds == fold)
        part, policy = calibration_set.take(here), Policy.chosen(settings, calibration_set.take(folds != fold))
        is_settled[here] = policy.settled(part)
        if policy.sets is not None:
            left = with_top(part.posterior, policy.sets.of(part.posterior))
            is_covered[here] = left[np.arange(len(here)), part.labels]
    return is_settled, is_covered


def accuracy_of_as_many_groups(
    correct: np.ndarray, groups: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Return a prediction interval for the mean accuracy of another set of as many groups.

    A group's accuracy is one observation. Two more, one all right and one all wrong, keep the interval honest where no
    group has a mistake (Agresti and Coull 1998); the quantile is Student's, by its expansion in 1 / degrees of freedom.

    Args:
        correct: whether each image was right, bool (n,). groups: int (n,).
        weights: how much each image counts, float (n,); None: so that each group counts one.
    """
    weights = group_weights(groups) if weights is None else weights
    _, place = np.unique(groups, return_inverse=True)
    of_group = np.bincount(place, weights=weights)
    shares = np.r_[np.bincount(place, weights=weights * correct) / of_group, 0.0, 1.0]
    n = worth_in_groups(weights, groups) + 2
    of_group = np.r_[of_group / of_group.sum() * (n - 2), 1.0, 1.0] / n
    mean = of_group @ shares
    variance = of_group @ (shares - mean) ** 2 * n / (n - 1)
    normal = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    quantile = normal + (normal**3 + normal) / (4 * (n - 1))
    half = quantile * math.sqrt(variance * 2 / n)  # as many groups again: both means vary
    return max(0.0, float(mean - half)), min(1.0, float(mean + half))
