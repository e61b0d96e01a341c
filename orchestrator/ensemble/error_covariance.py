"""How members err together, and the weights of least variance (Bates and Granger 1969): for heads on the same features.

Of heads that err together it can hardly be seen which is the better one. Their error covariance is a maximum a
posteriori estimate that starts from a prior (`ErrorPrior`) which is worth so many images: few labels change little,
many decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.base import one_hot

PRIOR_IMAGES = 16
"""How many labelled images the prior counts for, of an agent of which nothing is known beforehand."""


@dataclass(frozen=True)
class ErrorPrior:
    """How members err, before anything was seen of them.

    Attributes:
        covariance: (a, a), how their errors vary together, up to a factor; it is found for each from what was seen of
            those whose prior counts for as many images or more.
        pseudo_counts: (a,), how many labelled images the prior of each counts for; the prior of two of them, as
            many as that of the one of whom more is known.
        sources: number of the source of each look, int (a,), from 0: heads that read the same features are one, and
            so are the looks of an agent. What comes of one source is pooled before it is weighed against the others.
    """

    covariance: np.ndarray
    pseudo_counts: np.ndarray
    sources: np.ndarray

    @classmethod
    def none(cls, members: int) -> Self:
        """Return the prior where nothing is known: they are as good as each other, and each is a source of its own."""
        return cls(np.eye(members), np.full(members, PRIOR_IMAGES), np.arange(members))


def error_covariance(probabilities: np.ndarray, labels: np.ndarray, prior: ErrorPrior) -> np.ndarray:
    """Return how the errors p - onehot of members vary together, (a, a); arguments as of `Fusion.from_predictions`.

    Second moments over the images that both answered and all labels, drawn as by so many more images towards the
    prior. Where nobody answered anything, that is all there is.
    """
    answered = np.isfinite(probabilities).all(axis=2).astype(np.float64)  # (a, n)
    errors = np.where(answered[:, :, None] > 0, probabilities - one_hot(labels, probabilities.shape[2]), 0.0)
    both = answered @ answered.T
    flat = errors.reshape(len(errors), -1)
    sums = flat @ flat.T
    # an agent of which less is known is no measure for those of which more is
    as_known = (prior.pseudo_counts >= prior.pseudo_counts[:, None]).astype(np.float64)
    known, expected = as_known @ np.diag(sums), as_known @ (np.diag(both) * np.diag(prior.covariance))
    usual = np.sqrt(np.where(expected > 0, known / np.maximum(expected, 1e-12), 1.0))
    counts = np.maximum.outer(prior.pseudo_counts, prior.pseudo_counts)
    return np.asarray((sums + counts * np.outer(usual, usual) * prior.covariance) / (both + counts))


def apart(covariance: np.ndarray) -> float:
    """Return the share of their errors that members of this covariance (a, a) do not share: 1 - mean correlation.

    >>> round(apart(np.array([[1.0, 1.6], [1.6, 4.0]])), 3)
    0.2
    """
    spread, n = np.sqrt(np.diag(covariance)), len(covariance)
    correlations = covariance / np.outer(spread, spread)
    return 1.0 - float(correlations.sum() - n) / max(n * (n - 1), 1)


def min_variance_weights(covariance: np.ndarray) -> np.ndarray:
    """Return shares w (a,), w >= 0, sum 1, of the least variance w' C w (Bates and Granger 1969).

    >>> min_variance_weights(np.array([[1.0, 0.0], [0.0, 3.0]])).round(3)
    array([0.75, 0.25])
    """
    n = len(covariance)
    if n < 2:
        return np.ones(n)
    # Active sets (Lawson and Hanson 1974, chapter 23), without scipy, whose import takes longer than a diagnosis.
    matrix = covariance / max(float(np.trace(covariance)), 1e-300) + 1e-9 * np.eye(n)
    weights = np.eye(n)[matrix.diagonal().argmin()]
    for _ in range(3 * n):
        pull = weights @ matrix @ weights - matrix @ weights  # positive: more weight there lowers the variance
        if pull.max() < 1e-12:
            break
        chosen = weights > 0
        chosen[pull.argmax()] = True
        weights = _least_variance(matrix, weights, chosen)
    return np.asarray(weights)


def _least_variance(matrix: np.ndarray, weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the best weights on the chosen; who would fall below 0 on the way there from `weights` is left out."""
    best = np.zeros(len(weights))
    best[chosen] = np.linalg.solve(matrix[np.ix_(chosen, chosen)], np.ones(chosen.sum()))
    best /= best.sum()
    below = np.flatnonzero(best < 0)
    if not len(below):
        return best
    steps = weights[below] / (weights[below] - best[below])
    weights, chosen = weights + steps.min() * (best - weights), chosen.copy()
    weights[below[steps.argmin()]], chosen[below[steps.argmin()]] = 0.0, False
    return _least_variance(matrix, weights, chosen)
