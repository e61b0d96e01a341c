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
        settled: share of the labelled images that it settles; each group, and each label as often as in use.
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
    """Return how many groups must be settled, all right, before a target can be claimed; None: no number is enough.

    A group is an image where each is its own.

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
    (Angelopoulos et al. 2021) in a fixed sequence from high thresholds to low ones. Of k groups with settled images the
    share of the settled that are wrong is e / k on average, each group counting once; how probable so few are where the
    target is missed (`binomial_tails` where each image is a group of its own, else `bounded_tails`) must be at most
    delta there and at each threshold above it, from the first on that settles `images_for(target, delta)` groups. How
    many a threshold settles tells nothing of who is right, so where the sequence starts costs nothing.

    Where labels occur in other shares in use, images are drawn so that they occur so (rejection sampling).

    Args:
        before: what was settled already, if anything. It counts among the k and the e, but not in the
            `Threshold`'s shares.
    """
    needed = images_for(target, delta)
    tested, boundaries = calibration_set.as_in_use(), np.empty(0)
    if len(tested.probability):
        boundaries = np.unique(tested.probability[tested.probability >= least])[::-1]
    losses, groups, is_alone = _losses(tested, boundaries, None if before is None else before.as_in_use())
    is_enough = groups >= (needed or np.inf)
    boundaries, losses, groups = boundaries[is_enough], losses[is_enough], groups[is_enough]
    tails = (binomial_tails if is_alone else bounded_tails)(losses, groups, 1.0 - target)
    possible = boundaries[np.logical_and.accumulate(tails <= delta * (1 + 1e-9))]
    if not len(possible):
        return Threshold(None, 0.0, 0.0)
    return Threshold(float(possible[-1]), *calibration_set.figures(calibration_set.probability >= possible[-1]))


def _losses(
    tested: CalibrationSet, boundaries: np.ndarray, before: CalibrationSet | None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """By threshold, in descending order, what its groups lose, (m,): the sum of the shares that are wrong; and groups.

    Returns:
        The losses, the number of groups with settled images, int (m,), and whether each image is a group of its own.
    """
    parts = [tested] if before is None else [before, tested]
    groups, correct = (np.concatenate([getattr(part, name) for part in parts]) for name in ("groups", "correct"))
    probability = np.concatenate([*([np.full(len(before.probability), np.inf)] if before else []), tested.probability])
    order = np.argsort(-probability, kind="stable")
    settled = np.searchsorted(-probability[order], -boundaries, side="right")
    wrong = ~correct[order]
    _, place, sizes = np.unique(groups[order], return_inverse=True, return_counts=True)
    if (sizes <= 1).all():
        return np.r_[0, np.cumsum(wrong)][settled], settled, True
    seen, errors = np.zeros(len(sizes), np.intp), np.zeros(len(sizes), np.intp)
    loss, count, losses, counts = 0.0, 0, [0.0], [0]
    for group, is_wrong in zip(place.tolist(), wrong.tolist(), strict=True):
        share = errors[group] / max(seen[group], 1)
        count += seen[group] == 0
        seen[group] += 1
        errors[group] += is_wrong
        loss += errors[group] / seen[group] - share
        losses.append(loss)
        counts.append(count)
    return np.array(losses)[settled], np.array(counts, np.intp)[settled], False


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


def bounded_tails(losses: np.ndarray, trials: np.ndarray, mean: float) -> np.ndarray:
    """Return how probable it is, at most, that so many losses in [0, 1], of at least this mean, sum to so little.

    The smaller of the bounds of Hoeffding (1963) and Bentkus (2004), as Angelopoulos et al. (2021) use them.

    Args:
        losses: the sums, float (m,). trials: of how many, int (m,). mean: in (0, 1).

    >>> bounded_tails(np.array([0.0, 1.0]), np.array([45, 45]), 0.05).round(3).tolist()
    [0.099, 0.633]
    """
    if mean <= 0.0:
        return np.ones(len(losses))
    share = np.minimum(losses / np.maximum(trials, 1), mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(share > 0, share * np.log(share / mean), 0.0) + (1 - share) * np.log((1 - share) / (1 - mean))
    bentkus = math.e * binomial_tails(np.ceil(losses - 1e-9).astype(np.intp), trials, mean)
    return np.asarray(np.minimum(np.minimum(np.exp(-trials * apart), bentkus), 1.0))


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
