"""Fusion: calibrated predictions and trust become one posterior over the labels.

    log posterior(y) = sum over agents a of  w_a log p_a(y)  + const,   w_a >= 0

a logarithmic opinion pool (Genest and Zidek 1986). Calibration, done before, is the first half of trust; w_a is
how much of a calibrated word still counts.

- From the summary numbers alone (`from_trust`): w_a = (1 - OCR) (1 + max(CCC, 0)) / 2. An agent that is often wrong
  with confidence, or whose confidence does not follow its correctness, says less than its probabilities claim.
  Whether agents err together is not known then; they count as independent.
- Each word lowered by its calibration error, nothing else known (`independent`): w_a = 1.
- With labelled predictions (`from_predictions`): the shares of the weight minimise the variance of the combined error
  (Bates and Granger 1969), so an accurate agent counts for more and agents that err together count as one. Their
  error covariance is a maximum a posteriori estimate that starts from a prior (`ErrorPrior`), such as
  independent,
  equally good agents, which is worth so many images: few labels change little, many decide (of heads on the same
  features, half stays prior: `fitting.HEAD_IMAGES`). The sum of the weights is fitted too, and goes as far from 1,
  where all say the same thing, as their prior says that they are independent. The
  posterior is capped at (n + 1/2) / (n + 1): n labelled images, or groups of them, cannot justify more confidence
  (`kt_ceiling`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.core.trust import Trust
from consilience.orchestrator.ensemble.scaling import log_probabilities

PRIOR_IMAGES = 16
"""How many labelled images the prior counts for, of an agent of which nothing is known beforehand."""

TOTAL_WIDTH = 0.3
"""Standard deviation of the prior on the log of the sum of the weights, around 0, for independent members. For others
its variance is less by the share of their errors that their prior has in common, see `apart`."""


def starting_weight(trust: Trust) -> float:
    """Return w_a in [0, 1] from OCR and CCC alone.

    >>> starting_weight(Trust("expert", "first", n=100, ece=0.02, ocr=0.0, ccc=1.0))
    1.0
    """
    return (1.0 - trust.ocr) * (1.0 + max(trust.ccc, 0.0)) / 2.0


@dataclass(frozen=True)
class ErrorPrior:
    """How members err, before anything was seen of them.

    Attributes:
        covariance: (a, a), how their errors vary together, up to a factor; it is found for each from what was seen of
            those whose prior counts for as many images or more.
        pseudo_counts: (a,), how many labelled images the prior of each counts for; the prior of two of them, as
            many as that of the one of whom more is known.
    """

    covariance: np.ndarray
    pseudo_counts: np.ndarray

    @classmethod
    def none(cls, members: int) -> Self:
        """Return the prior where nothing is known: they are as good as each other, and independent."""
        return cls(np.eye(members), np.full(members, PRIOR_IMAGES))


@dataclass(frozen=True)
class Fusion:
    """Weights for a set of members.

    Attributes:
        base: (a,), the weight of each member if it is the only one.
        covariance: (a, a), how their errors vary together; None where no labelled predictions were seen.
        total: the sum of the weights where several members speak; not used without a covariance.
        ceiling: no label gets more than this; 1 where it is not known how many labelled images there were.
        ratio: by label, its share where the panel is used over its share among the labelled images, (c,); None: 1. It
            is of the settings, and not written.
    """

    base: np.ndarray
    covariance: np.ndarray | None = None
    total: float = 1.0
    ceiling: float = 1.0
    ratio: np.ndarray | None = None

    @classmethod
    def from_trust(cls, trusts: Sequence[Trust]) -> Self:
        """Return the weights that the three summary numbers of each member support."""
        return cls(np.array([starting_weight(trust) for trust in trusts]))

    @classmethod
    def independent(cls, members: int) -> Self:
        """Return the weights of Bayes' rule: calibrated members that err independently count in full.

        It suits predictions that were lowered by their calibration error (`scaling.ConfidenceDiscount`): the
        overconfidence that OCR counts is gone from them, so that the weight of `from_trust` would take it off twice.
        """
        return cls(np.ones(members))

    @classmethod
    def from_predictions(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        spoken: np.ndarray | None = None,
        prior: ErrorPrior | None = None,
        groups: np.ndarray | None = None,
    ) -> Self:
        """Return the weights that labelled predictions support.

        Args:
            probabilities: calibrated and out of fold (a, n, c); rows of NaN where a member did not answer.
            labels: int (n,).
            spoken: the same, with NaN for those who do not speak at once, such as second looks: what the sum of the
                weights is fitted on; default: all.
            prior: how they err before anything was seen; default: independently and equally.
            groups: number of the group of each image, int (n,): so many things support the ceiling; default: n.
        """
        from scipy.optimize import minimize_scalar

        prior = ErrorPrior.none(len(probabilities)) if prior is None else prior
        covariance = error_covariance(probabilities, labels, prior)
        unscaled = cls(np.ones(len(covariance)), covariance)
        spoken = probabilities if spoken is None else spoken
        words, weights = unscaled._words_and_weights(spoken)
        pooled = np.einsum("na,anc->nc", weights, words)
        speak = np.flatnonzero(np.isfinite(spoken).any(axis=(1, 2)))
        width = TOTAL_WIDTH * np.sqrt(apart(prior.covariance[np.ix_(speak, speak)]))

        def loss(log_total: float) -> float:
            # The labels as they are: the prior guards against certainty, and the calibrators have softened them once.
            own = softmax(np.exp(log_total) * pooled)[np.arange(len(labels)), labels]
            return float(-log_probabilities(own).sum() + (log_total / width) ** 2 / 2)

        best = minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded")
        return cls(
            np.ones(len(covariance)),
            covariance,
            float(np.exp(best.x)),
            kt_ceiling(len(labels if groups is None else np.unique(groups))),
        )

    def posterior(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pool calibrated predictions (a, n, c), rows of NaN where a member did not answer.

        Returns:
            The posterior (n, c), rows sum to 1 (uniform where nobody answered), and the weights (n, a), 0 for those
            who did not answer. If one of several that err together is missing, the rest count for more.
        """
        words, weights = self._words_and_weights(probabilities)
        pooled = cap_confidence(self.ceiling, softmax(np.einsum("na,anc->nc", weights, words)))
        return with_prior(self.ratio, pooled), weights

    def weights(self, present: np.ndarray) -> np.ndarray:
        """Return how much each member counts, (n, a), given by `present`, bool (n, a), which have answered."""
        if self.covariance is None:
            return np.where(present, self.base, 0.0)
        weights = np.zeros(present.shape)
        for who in np.unique(present, axis=0):
            here = np.flatnonzero(who)
            total = self.total if len(here) > 1 else 1.0  # one calibrated member is taken at its word
            weights[np.ix_((present == who).all(axis=1), here)] = total * min_variance_weights(
                self.covariance[np.ix_(here, here)]
            )
        return weights

    def _words_and_weights(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        present = np.isfinite(probabilities).all(axis=2).T  # (n, a)
        words = np.where(present.T[:, :, None], log_probabilities(np.nan_to_num(probabilities)), 0.0)
        return words, self.weights(present)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`."""
        covariance = None if self.covariance is None else self.covariance.tolist()
        return {"base": self.base.tolist(), "covariance": covariance, "total": self.total, "ceiling": self.ceiling}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned."""
        covariance = None if data["covariance"] is None else np.array(data["covariance"])
        return cls(np.array(data["base"]), covariance, float(data["total"]), float(data["ceiling"]))


def kt_ceiling(n: int) -> float:
    """Return the chance of being right once more after n times of n: (n + 1/2) / (n + 1).

    Krichevsky and Trofimov (1981); Laplace's rule of succession, (n + 1) / (n + 2), was too low for images that more
    than one agent is sure of: the ECE rose by 0.001 to 0.006 with it, by at most 0.002 with this.

    >>> kt_ceiling(24)
    0.98
    """
    return (n + 0.5) / (n + 1.0)


def cap_confidence(ceiling: float, posterior: np.ndarray) -> np.ndarray:
    """Return rows of (n, c), those surer than the ceiling mixed with the uniform distribution down to it.

    >>> cap_confidence(0.9, np.array([[1.0, 0.0], [0.8, 0.2]])).round(3)
    array([[0.9, 0.1],
           [0.8, 0.2]])
    """
    top, chance = posterior.max(axis=1, keepdims=True), 1.0 / posterior.shape[1]
    doubt = np.maximum(top - ceiling, 0.0) / np.maximum(top - chance, 1e-12)
    return np.asarray((1.0 - doubt) * posterior + doubt * chance)


def error_covariance(probabilities: np.ndarray, labels: np.ndarray, prior: ErrorPrior) -> np.ndarray:
    """Return how the errors p - onehot of members vary together, (a, a); arguments as of `Fusion.from_predictions`.

    Second moments over the images that both answered and all labels, drawn as by so many more images towards the
    prior. Where nobody answered anything, that is all there is.
    """
    answered = np.isfinite(probabilities).all(axis=2).astype(np.float64)  # (a, n)
    errors = np.nan_to_num(probabilities - one_hot(labels, probabilities.shape[2]))
    both = answered @ answered.T
    sums = np.einsum("anc,bnc->ab", errors, errors)
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


def with_prior(ratio: np.ndarray | None, posterior: np.ndarray) -> np.ndarray:
    """Return a posterior (n, c) where labels occur `ratio` times as often, (c,), as where it was learned.

    None: as often.

    Bayes' rule, where labels look the same and only their shares differ (label shift): Saerens et al. 2002.

    >>> with_prior(np.array([1.9, 0.1]), np.array([[0.5, 0.5]])).round(2)
    array([[0.95, 0.05]])
    """
    if ratio is None:
        return posterior
    scaled = posterior * ratio
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))
