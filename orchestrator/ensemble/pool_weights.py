"""Weights of sources of evidence in a logarithmic pool: their posterior maximum around a prior that knows redundancy.

A source adds its evidence, log p(y) - log prior(y). Were all evidence normal, with the same correlation r
between the errors of any two, the best weights would be those of Fisher's linear discriminant (`expected_weights`):
1 for each where r is 0, since independent evidence adds up; with r > 0 less for all, least for the weakest, whose
evidence the others hold already. One number is all that few images can tell of how sources err together, so these
weights are the centre of a prior, and the labelled images move each weight from there as far as they can tell.
"""

from __future__ import annotations

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.orchestrator.ensemble.scaling import log_probabilities

CORRELATION_IMAGES = 4
"""How many images it counts for that sources do not err together."""

MAX_CORRELATION = 0.9

LEAST_INFORMATION = 0.02
"""Nats an image that every source is thought to add, so that no weight is divided by nothing."""

EQUAL_SHARE = 0.5
"""Share of the prior's weights that is the same for all: who looks weak on few images need not be."""

WEIGHT_WIDTH = 0.15
"""Standard deviation of the prior on a weight, around what is expected of it."""

LEVEL_WIDTH = 0.5
"""Standard deviation of the prior on the logarithm of a factor that all expected weights share."""

MAX_WEIGHT = 4.0


def evidence(probabilities: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Return log p - log prior of calibrated predictions (a, n, c); 0 where there is none: it says nothing."""
    answered = np.isfinite(probabilities).all(axis=2)[:, :, None]
    return np.asarray(np.where(answered, log_probabilities(np.where(answered, probabilities, 1.0)) - log_prior, 0.0))


def information(words: np.ndarray, answered: np.ndarray, labels: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Return how much better than the prior each source foretells the label, in nats an image that it answered, (s,).

    Args:
        words: evidence (s, n, c). answered: bool (s, n). labels: int (n,). log_prior: (c,).
    """
    rows = np.arange(len(labels))
    gains = np.array([log_probabilities(softmax(each + log_prior))[rows, labels] for each in words])
    gains = np.where(answered, gains - log_prior[labels], 0.0).sum(axis=1) / np.maximum(answered.sum(axis=1), 1)
    return np.asarray(np.maximum(gains, LEAST_INFORMATION))


def error_correlation(words: np.ndarray, answered: np.ndarray, labels: np.ndarray, images: float) -> float:
    """Return the mean of `error_correlations` over pairs of sources, [0, MAX_CORRELATION].

    Drawn to 0 as by CORRELATION_IMAGES images.

    Args:
        words, answered, labels: as for `information`. images: how many count as independent of each other.
    """
    s, n, _ = words.shape
    if s < 2 or n == 0:
        return 0.0
    correlations = error_correlations(words, answered, labels)  # those below 0, too: chance makes both
    mean = float(correlations.sum() - np.trace(correlations)) / (s * (s - 1))
    return float(np.clip(images * mean / (images + CORRELATION_IMAGES), 0.0, MAX_CORRELATION))


def error_correlations(words: np.ndarray, answered: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how what two sources say beside the truth correlates, over the images that both answered, (s, s).

    Evidence is compared with its mean for the true label and its mean for the others, so that being right together is
    no correlation.

    Args:
        words, answered, labels: as for `information`.
    """
    s, _, c = words.shape
    is_truth = one_hot(labels, c) > 0
    errors = words - words.mean(axis=2, keepdims=True)
    for each, spoke in zip(errors, answered, strict=True):
        if spoke.any():
            at_truth, elsewhere = each[spoke][is_truth[spoke]].mean(), each[spoke][~is_truth[spoke]].mean()
            each -= np.where(is_truth, at_truth, elsewhere)
        each[~spoke] = 0.0
    flat = errors.reshape(s, -1)
    on_common = (errors**2).sum(axis=2) @ answered.T.astype(np.float64)  # (s, s), of the first where both spoke
    spread = np.sqrt(np.maximum(on_common * on_common.T, 1e-24))
    return np.asarray(flat @ flat.T / spread)


def expected_weights(spread: np.ndarray, correlation: float) -> np.ndarray:
    """Return the weights of Fisher's linear discriminant for sources whose errors correlate alike, (s,), none below 0.

    They minimise w' C w / 2 - sum(diag(C) w) for C = ((1 - r) I + r) * spread spread'.

    Args:
        spread: standard deviation of each source's evidence, (s,), > 0. correlation: r, in [0, 1).

    >>> expected_weights(np.array([1.0, 2.0]), 0.0)
    array([1., 1.])
    >>> expected_weights(np.array([1.0, 1.0]), 0.5).round(3)
    array([0.667, 0.667])
    """
    largest_first = np.sort(spread)[::-1]
    totals = largest_first.cumsum() / (1 - correlation + correlation * np.arange(1, len(spread) + 1))
    counts = largest_first > correlation * totals  # who still adds something beside the stronger ones
    total = totals[np.flatnonzero(counts)[-1]]
    return np.asarray(np.maximum(1 - correlation * total / spread, 0.0) / (1 - correlation))


def most_probable_weights(
    words: np.ndarray, labels: np.ndarray, offset: np.ndarray, expected: np.ndarray, image_weight: float = 1.0
) -> np.ndarray:
    """Return the posterior maximum of the weights of s sources, (s,), in [0, MAX_WEIGHT].

    Args:
        words: evidence (s, n, c). labels: int (n,).
        offset: what is added to the weighed evidence, (n, c) or (c,).
        expected: (s,), the prior's centre up to a factor.
        image_weight: what an image counts for; less than 1 where several show the same thing.
    """
    from scipy.optimize import minimize

    targets, level_width = one_hot(labels, words.shape[2]), LEVEL_WIDTH
    flat = words.reshape(len(words), -1)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        level, weights = parameters[0], parameters[1:]
        centre = np.exp(level) * expected
        logits = (weights @ flat).reshape(words.shape[1:]) + offset
        logits = logits - logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        residual, far = np.exp(logs) - targets, (weights - centre) / WEIGHT_WIDTH
        value = -image_weight * (targets * logs).sum() + far @ far / 2 + (level / level_width) ** 2 / 2
        slope = np.r_[
            level / level_width**2 - far @ centre / WEIGHT_WIDTH,
            image_weight * (flat @ residual.ravel()) + far / WEIGHT_WIDTH,
        ]
        return float(value), slope

    bounds = [(-5.0, 5.0)] + [(0.0, MAX_WEIGHT)] * len(words)
    options = {"ftol": 1e-12, "gtol": 1e-7, "maxiter": 500}
    start = np.r_[0.0, np.minimum(expected, MAX_WEIGHT)]
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x[1:])


def without_the_missing(
    weights: np.ndarray, first: np.ndarray, spread: np.ndarray, correlation: float, speaks: np.ndarray
) -> np.ndarray:
    """Return the weights of the sources that speak, (n, s), 0 for the others.

    Who speaks stands in for the missing as far as they say the same: their weights go up by C_ss^-1 C_sm w_m, in closed
    form where errors correlate alike, but not above 1, or what they were. Who speaks alone is taken at its word.

    Args:
        weights: of the sources as they speak, (n, s).
        first: of each source where all speak at first, (s,): what a missing one would have counted.
        spread, correlation: as for `expected_weights`. speaks: bool (n, s).
    """
    count = speaks.sum(axis=1, keepdims=True)
    missing = (~speaks) @ (first * spread)
    raised = (
        weights + (correlation * missing[:, None] / (1 - correlation + correlation * np.maximum(count, 1))) / spread
    )
    raised = np.where(count == 1, 1.0, np.minimum(raised, np.maximum(weights, 1.0)))
    return np.asarray(np.where(speaks, raised, 0.0))
