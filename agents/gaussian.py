"""Gaussian discriminant with one shared covariance, shrunk; no training.

Z. Wang, J. Liang, L. Sheng, R. He, Z. Wang, T. Tan, 'A Hard-to-Beat Baseline for Training-free CLIP-based
Adaptation', ICLR 2024: class means and a shared covariance S give the linear classifier
w_c = P mu_c, b_c = log pi_c - mu_c' P mu_c / 2, with the precision P estimated by the empirical Bayes
ridge estimator P = d ((n - 1) S + r tr(S) I)^-1 (Kubokawa and Srivastava 2008).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from consilience.agents.base import FeatureAgent, LabelledFeatures, Views, one_hot, softmax
from consilience.agents.tuning import inner_folds, log_loss, row_space

RIDGES = (0.3, 0.1, 1.0)
"""r, chosen by cross-validation; the paper has 1. The first is for where there is nothing to choose by."""

TEMPERATURES = np.geomspace(0.25, 32.0, 29)
"""The choice of r must not turn on what a calibrator mends afterwards; a coarser grid would."""

Statistics = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Counts (c,), sums (c, d) and second moments (d, d) of the features of each label."""


class Gaussian(FeatureAgent):
    """Keeps sufficient statistics, so that images can be added and taken out without a refit."""

    name = "gaussian"

    def __init__(self, statistics: Statistics, ridge: float, weights: np.ndarray, bias: np.ndarray) -> None:
        self.statistics, self.ridge, self.weights, self.bias = statistics, ridge, weights, bias

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        statistics, ridge = statistics_of(data.features, data.labels, data.n_labels), _choose_ridge(data)
        return cls(statistics, ridge, *_solve(statistics, ridge))

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Only the statistics of what came and went are worked out; the result equals a fit on all with the same r."""
        came, went = (statistics_of(one.features, one.labels, one.n_labels) for one in (added, removed))
        counts, sums, moments = (old + new - gone for old, new, gone in zip(self.statistics, came, went, strict=True))
        return type(self)((counts, sums, moments), self.ridge, *_solve((counts, sums, moments), self.ridge))

    def predict(self, views: Views) -> np.ndarray:
        return softmax(views.features @ self.weights.T + self.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        counts, sums, moments = self.statistics
        return {
            "counts": counts,
            "sums": sums,
            "moments": moments,
            "ridge": np.array(self.ridge),
            "weights": self.weights,
            "bias": self.bias,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        statistics = (arrays["counts"], arrays["sums"], arrays["moments"])
        return cls(statistics, float(arrays["ridge"]), arrays["weights"], arrays["bias"])


def statistics_of(features: np.ndarray, labels: np.ndarray, n_labels: int) -> Statistics:
    """Of vectors (n, d) and labels int (n,)."""
    rows = features.astype(np.float64)
    members = one_hot(labels, n_labels)
    return members.sum(axis=0), members.T @ rows, rows.T @ rows


def regularised(statistics: Statistics, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The labels' means (c, d), and (n - 1) S + r tr(S) I, (d, d), float64."""
    counts, sums, moments = statistics
    n, dimension = counts.sum(), sums.shape[1]
    means = sums / np.maximum(counts, 1)[:, None]
    scatter = moments - means.T @ sums  # within labels: (n - 1) S
    spread = max(np.trace(scatter) / max(n - 1, 1), 1e-8)
    return means, scatter + ridge * spread * np.eye(dimension)


def _solve(statistics: Statistics, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The linear classifier: weights (c, d) and bias (c,)."""
    counts, _, _ = statistics
    n, (means, scatter) = counts.sum(), regularised(statistics, ridge)
    weights = len(scatter) * np.linalg.solve(scatter, means.T).T
    with np.errstate(divide="ignore"):  # a label without images keeps probability 0
        prior = np.log(counts / n)
    return weights, prior - 0.5 * np.einsum("cd,cd->c", weights, means)


def _choose_ridge(data: LabelledFeatures) -> float:
    """The r with the least log loss in cross-validation, each at its best temperature."""
    rows, _ = row_space(data.features - data.features.mean(axis=0, dtype=np.float64))
    logits = {ridge: np.zeros((len(rows), data.n_labels)) for ridge in RIDGES}
    for train, test in inner_folds(data.labels):
        statistics = statistics_of(rows[train], data.labels[train], data.n_labels)
        for ridge in RIDGES:
            weights, bias = _solve(statistics, ridge)
            logits[ridge][test] = rows[test] @ weights.T + bias
    return min(RIDGES, key=lambda ridge: min(log_loss(softmax(logits[ridge] / t), data.labels) for t in TEMPERATURES))
