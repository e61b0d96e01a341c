"""How far counts follow what is expected of them: an expectation counts for as many images as the counts say it may.

Shares that were counted on few images are drawn to expected ones (a Dirichlet prior). How strongly is found by the
marginal likelihood of the counts, which is a Dirichlet-multinomial (empirical Bayes): counts that scatter about what is
expected no more than chance would have it are left where it is, others go their own way.
"""

from __future__ import annotations

import numpy as np

STRENGTHS = 2.0 ** np.arange(15)
"""For how many images an expectation may count: what `likeliest_strength` chooses from."""

WIDTH = 2.0
"""Standard deviation of the prior on the logarithm of a strength."""


def likeliest_strength(counts: np.ndarray, shares: np.ndarray, usual: float) -> float:
    """Return the strength of greatest posterior for counts (..., k) where shares (..., k) > 0 are expected.

    Args:
        counts: rows that were drawn from shares of their own, all as far from the expected ones.
        shares: rows sum to 1.
        usual: the centre of the prior: the strength where counts tell nothing.

    >>> likeliest_strength(np.array([[50, 50], [48, 52], [53, 47]]), np.full((3, 2), 0.5), 16.0)
    128.0
    >>> likeliest_strength(np.array([[90, 10], [20, 80], [50, 50]]), np.full((3, 2), 0.5), 16.0)
    4.0
    """
    from scipy.special import gammaln

    counts, shares = np.reshape(counts, (-1, np.shape(counts)[-1])), np.reshape(shares, (-1, np.shape(counts)[-1]))
    totals = counts.sum(axis=1)
    best, likeliest = -np.inf, usual
    for strength in STRENGTHS:
        prior = strength * shares
        value = float((gammaln(strength) - gammaln(strength + totals)).sum())
        value += float((gammaln(prior + counts) - gammaln(prior)).sum())
        value -= (np.log(strength / usual) / WIDTH) ** 2 / 2
        if value > best:
            best, likeliest = value, float(strength)
    return likeliest


def drawn_to(counts: np.ndarray, shares: np.ndarray, strength: float) -> np.ndarray:
    """Return the shares of counts (..., k), drawn to expected ones as by so many images: the posterior's mean.

    >>> drawn_to(np.array([3.0, 1.0]), np.array([0.5, 0.5]), 4.0)
    array([0.625, 0.375])
    """
    return np.asarray((counts + strength * shares) / (counts.sum(axis=-1, keepdims=True) + strength))


def likeliest_count(observed: np.ndarray, expected: np.ndarray, usual: float) -> float:
    """Return for how many images it counts, in each cell, that as many are observed as are expected.

    Counts are Poisson, their ratio to what is expected is Gamma with mean 1 (as DuMouchel 1999, 'Bayesian data mining
    in large frequency tables', for tables of observed and expected counts): their marginal likelihood is a negative
    binomial's. Arguments of any one shape, >= 0; `usual` as for `likeliest_strength`.
    """
    from scipy.special import gammaln

    counts = STRENGTHS[:, None]
    observed, expected = np.ravel(observed), np.ravel(expected)
    values = gammaln(counts + observed) - gammaln(counts) + counts * np.log(counts)
    values = (values - (counts + observed) * np.log(counts + expected)).sum(axis=1)
    return float(STRENGTHS[np.argmax(values - (np.log(STRENGTHS / usual) / WIDTH) ** 2 / 2)])


USUAL_IMAGES_OF_A_LABEL = 20.0
"""How many images of each label it usually counts for that labels are as frequent as each other."""


def label_shares(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the share of each label among the images of these labels, int (n,): float (c,), drawn to being equal.

    Evidence of every agent is counted beside these shares, so that an error in them counts as often as there are
    agents: as long as chance explains how often each label occurs, all occur as often.
    """
    counts, equal = np.bincount(labels, minlength=n_labels).astype(np.float64), np.full(n_labels, 1 / n_labels)
    return drawn_to(counts, equal, likeliest_strength(counts, equal, USUAL_IMAGES_OF_A_LABEL * n_labels))
