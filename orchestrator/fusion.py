"""Fusion: calibrated predictions and trust become one posterior over the labels.

    log posterior(y) = sum over agents a of  w_a log p_a(y)  + const,   w_a >= 0

a logarithmic opinion pool (Genest and Zidek 1986). How w_a comes about, in three steps:

1. From the summary numbers alone, `starting_weight`: (1 - OCR) (1 + max(CCC, 0)) / 2. Calibration (ECE) has
   already lowered the probabilities; what is left to doubt is an agent that is often wrong with confidence, or
   whose confidence does not follow its correctness.
2. Agents that err together are counted together: the weight is divided by 1 + sum of the correlations of its
   errors with those of the others present (Kish's design effect). Without labelled predictions it is 1.
3. Where labelled predictions exist, `fit_weights` refines by maximum a posteriori around that start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.orchestrator.calibration import log_probabilities, soft_targets
from consilience.trust import Trust

PRIOR_WIDTH = 0.3
"""Standard deviation of the prior on a weight around its start: few labels change little, many decide."""


def starting_weight(trust: Trust) -> float:
    """w_a in [0, 1] from OCR and CCC alone.

    >>> starting_weight(Trust("expert", "first", n=100, ece=0.02, ocr=0.0, ccc=1.0))
    1.0
    """
    return (1.0 - trust.ocr) * (1.0 + max(trust.ccc, 0.0)) / 2.0


def error_correlation(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much agents err together: (a, a), in [0, 1], zero diagonal.

    Args:
        probabilities: calibrated (a, n, c); rows of NaN where an agent did not answer are left out pairwise.
        labels: int (n,).

    The Pearson correlation of the residuals p - onehot, over all images and labels; negative ones count as 0.
    """
    residuals = probabilities - one_hot(labels, probabilities.shape[2])
    flat = np.ma.masked_invalid(residuals.reshape(len(probabilities), -1))
    correlation = np.ma.corrcoef(flat).filled(0.0) if len(probabilities) > 1 else np.zeros((1, 1))
    np.fill_diagonal(correlation, 0.0)
    return np.clip(correlation, 0.0, 1.0)


@dataclass(frozen=True)
class Fusion:
    """Weights for one set of witnesses.

    Attributes:
        base: (a,), the weight that each agent would have if it stood alone.
        correlation: (a, a), how much they err together.
    """

    base: np.ndarray
    correlation: np.ndarray

    def weights(self, present: np.ndarray) -> np.ndarray:
        """w (n, a) for the agents that answered, `present` bool (n, a); 0 for the others.

        If one of several agents that err together is missing, the rest count for more.
        """
        shared = 1.0 + present.astype(np.float64) @ self.correlation.T
        return np.asarray(np.where(present, self.base / shared, 0.0))

    def posterior(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pool calibrated predictions (a, n, c), rows of NaN where an agent did not answer.

        Returns:
            The posterior (n, c), rows sum to 1 (uniform where nobody answered), and the weights (n, a).
        """
        present = np.isfinite(probabilities).all(axis=2).T
        weights = self.weights(present)
        words = np.where(present.T[:, :, None], log_probabilities(np.nan_to_num(probabilities)), 0.0)
        return softmax(np.einsum("na,anc->nc", weights, words)), weights


def from_trust(trusts: list[Trust]) -> Fusion:
    """The fusion that the three summary numbers alone support."""
    return Fusion(np.array([starting_weight(trust) for trust in trusts]), np.zeros((len(trusts), len(trusts))))


def fit_weights(probabilities: np.ndarray, labels: np.ndarray, trusts: list[Trust]) -> Fusion:
    """Refine the weights on labelled predictions by maximum a posteriori.

    Minimises  - sum log posterior(label) + sum (v_a - start_a)^2 / (2 PRIOR_WIDTH^2),  v_a >= 0,  where v_a is
    the weight before it is shared among agents that err together; the problem is convex.

    Args:
        probabilities: calibrated, out of fold (a, n, c); rows of NaN where an agent did not answer.
        labels: int (n,).
        trusts: one an agent, in the same order.
    """
    from scipy.optimize import minimize

    start = from_trust(trusts).base
    correlation = error_correlation(probabilities, labels)
    present = np.isfinite(probabilities).all(axis=2).T
    shared = Fusion(np.ones(len(start)), correlation).weights(present)  # (n, a)
    words = np.where(present.T[:, :, None], log_probabilities(np.nan_to_num(probabilities)), 0.0)
    words = np.einsum("na,anc->anc", shared, words)
    targets = soft_targets(labels, probabilities.shape[2])

    def loss(base: np.ndarray) -> tuple[float, np.ndarray]:
        posterior = softmax(np.einsum("a,anc->nc", base, words))
        drift = (base - start) / PRIOR_WIDTH
        gradient = np.einsum("nc,anc->a", posterior - targets, words) + drift / PRIOR_WIDTH
        return float(-(targets * log_probabilities(posterior)).sum() + drift @ drift / 2), gradient

    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(start))
    return Fusion(best.x, correlation)
