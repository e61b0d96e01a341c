"""The least posterior at which a wished share of what is settled is right, chosen with a guarantee."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from consilience.orchestrator.decision.calibration_set import MIN_JUDGED_POSTERIOR, CalibrationSet


@dataclass(frozen=True)
class Threshold:
    """The least posterior that settles a diagnosis.

    Attributes:
        probability: the threshold; None if the labelled images cannot support the target: all is referred.
        settled: share of the labelled images that it settles.
        accuracy: share of those that were right.
    """

    probability: float | None
    settled: float
    accuracy: float

    @property
    def least(self) -> float:
        """Return the probability; infinite where nothing settles."""
        return np.inf if self.probability is None else self.probability


def images_for(target: float, delta: float) -> int | None:
    """Return how many images must be settled, all right, before a target can be claimed; None: no number is enough.

    >>> images_for(0.95, 0.1), images_for(0.9, 0.05), images_for(1.0, 0.1)
    (45, 29, None)
    """
    return None if target >= 1.0 else max(1, math.ceil(math.log(delta) / math.log(target) - 1e-9))


def choose_threshold(
    calibration_set: CalibrationSet,
    target: float,
    delta: float,
    least: float = MIN_JUDGED_POSTERIOR,
    *,
    before: CalibrationSet | None = None,
) -> Threshold:
    """Return the lowest threshold from `least` on at which at least `target` of the settled diagnoses are right.

    But for a chance of `delta` the claim is true of images from where the labelled ones came from: learn then test
    (Angelopoulos et al. 2021), with binomial tails, in a fixed sequence from high thresholds to low ones. Of k settled
    images e are wrong; P(Binomial(k, 1 - target) <= e) <= delta must hold there and at each threshold above it, from
    the first on that settles `images_for(target, delta)` images. How many a threshold settles tells nothing of who is
    right, so where the sequence starts costs nothing.

    Args:
        before: what was settled already, if anything. It counts among the k and the e, but not in the
            `Threshold`'s shares.
    """
    needed, settled_before = images_for(target, delta), np.empty(0, bool) if before is None else before.correct
    order = np.argsort(-calibration_set.probability, kind="stable")
    probability, wrong = calibration_set.probability[order], np.cumsum(~calibration_set.correct[order])
    settled = np.arange(1, len(order) + 1)
    boundary = np.r_[probability[:-1] > probability[1:], True][: len(order)]  # equal ones are settled together
    total = settled + len(settled_before)
    tested = np.flatnonzero(boundary & (probability >= least) & (total >= (needed or np.inf)))
    kept = binomial_tails(wrong[tested] + (~settled_before).sum(), total[tested], 1.0 - target) <= delta * (1 + 1e-9)
    possible = tested[np.logical_and.accumulate(kept)]
    if not len(possible):
        return Threshold(None, 0.0, 0.0)
    last = possible[-1]
    return Threshold(
        float(probability[last]), float(settled[last] / len(order)), float(1 - wrong[last] / settled[last])
    )


def binomial_tails(successes: np.ndarray, trials: np.ndarray, chance: float) -> np.ndarray:
    """Return P(Binomial(trials, chance) <= successes), (m,).

    Without scipy, whose import takes longer than a diagnosis.

    >>> binomial_tails(np.array([0, 1]), np.array([2, 2]), 0.5).round(3).tolist()
    [0.25, 0.75]
    """
    if chance <= 0.0 or chance >= 1.0:
        return np.where(np.full(len(trials), chance >= 1.0) & (successes < trials), 0.0, 1.0)
    logs = np.r_[0.0, np.cumsum(np.log(np.arange(1, int(trials.max(initial=0)) + 1)))]
    tails = np.empty(len(trials))
    for place, (k, n) in enumerate(zip(successes.tolist(), trials.tolist(), strict=True)):
        i = np.arange(k + 1)
        terms = logs[n] - logs[i] - logs[n - i] + i * math.log(chance) + (n - i) * math.log1p(-chance)
        tails[place] = min(1.0, float(np.exp(terms).sum()))
    return tails


def threshold_again(
    first: CalibrationSet, second: CalibrationSet, threshold: Threshold, target: float, delta: float
) -> Threshold:
    """Return the threshold of diagnoses in which an agent looked again, given the `threshold` of the others.

    It is chosen on what the first looks did not settle, so that of all that is settled, at first or now, at least
    `target` is right. If no labelled image tells (none that is left has a posterior of MIN_JUDGED_POSTERIOR), the first
    one stands.
    """
    is_settled = first.probability >= threshold.least
    left = second.take(~is_settled)
    if not (left.probability >= MIN_JUDGED_POSTERIOR).any():
        return threshold
    return choose_threshold(left, target, delta, before=first.take(is_settled))
