"""What a word is worth in use: of the images settled as a label, how many show it (positive predictive value)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilience.orchestrator.grouping.group_weights import group_weights, worth_in_groups

DRAWS = 4000
"""Of the interval."""

PRIOR = 0.5
"""Jeffreys' prior of a rate: half a success, half a failure."""

SMALLEST = 1e-12


@dataclass(frozen=True)
class Worth:
    """What it means that an image is settled as a label.

    Attributes:
        share: how often the label occurs in use, [0, 1].
        settled: labelled images that were settled as it.
        right: of such images, in use, the share that show it; None where none was settled as it.
        low, high: its interval, 95 %, which counts groups.
        found: of the images that show it, the share that is settled as it; None where none shows it.
    """

    share: float
    settled: int
    right: float | None
    low: float
    high: float
    found: float | None


def worth_of(
    labels: np.ndarray, named: np.ndarray, settled: np.ndarray, groups: np.ndarray, shares: np.ndarray
) -> list[Worth]:
    """Return by label what it is worth, from images of known labels that nothing was fitted on.

    How often each label is said where it is true, and where it is not, is counted; Bayes' rule does the rest. The
    interval draws both rates from their posteriors under Jeffreys' prior, so that no mistake in few images is not
    certainty.

    Args:
        labels, named: the true and the named ones, int (n,). settled: bool (n,).
        groups: number of the group of each image, int (n,): each group counts one.
        shares: of the labels in use, float (c,), sum 1.
    """
    rng, worths, weights = np.random.default_rng(0), list[Worth](), group_weights(groups)
    of_label = shares / np.maximum(np.bincount(labels, weights, len(shares)), SMALLEST)
    place = np.unique(groups, return_inverse=True)[1]
    for label, share in enumerate(shares.tolist()):
        is_label, is_named = labels == label, settled & (named == label)
        n = int(is_named.sum())
        mistakes = _rate(np.where(is_label, 0.0, weights * of_label[labels]), is_named, place)
        hits = _rate(np.where(is_label, weights, 0.0), is_named, place)
        if not n:
            worths.append(Worth(share, 0, None, 0.0, 1.0, None if hits is None else hits.rate))
            continue
        right = share * (hits.rate if hits else 0.0)
        wrong = (1.0 - share) * (mistakes.rate if mistakes else 0.0)
        drawn_right = share * (hits.drawn(rng) if hits else rng.beta(PRIOR, PRIOR, DRAWS))
        drawn_wrong = (1.0 - share) * (mistakes.drawn(rng) if mistakes else rng.beta(PRIOR, PRIOR, DRAWS))
        low, high = np.quantile(drawn_right / (drawn_right + drawn_wrong), [0.025, 0.975]).tolist()
        value = right / max(right + wrong, SMALLEST)
        worths.append(Worth(share, n, value, min(low, value), max(high, value), None if hits is None else hits.rate))
    return worths


@dataclass(frozen=True)
class _Rate:
    """How often something happens among so many groups."""

    rate: float
    groups: float

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        happened = self.rate * self.groups
        return rng.beta(happened + PRIOR, self.groups - happened + PRIOR, DRAWS)


def _rate(weights: np.ndarray, happened: np.ndarray, groups: np.ndarray) -> _Rate | None:
    """Return the weighted rate, and how many groups of equal weight would tell as much; None without weight."""
    total = weights.sum()
    if total <= 0.0:
        return None
    return _Rate(float(weights[happened].sum() / total), worth_in_groups(weights, groups))
