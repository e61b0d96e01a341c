"""Gaussian discriminant with one shared covariance, shrunk; no training.

Z. Wang, J. Liang, L. Sheng, R. He, Z. Wang, T. Tan, 'A Hard-to-Beat Baseline for Training-free CLIP-based
Adaptation', ICLR 2024: class means and a shared covariance S give the linear classifier
w_c = P mu_c, b_c = log pi_c - mu_c' P mu_c / 2, with the precision P estimated by the empirical Bayes
ridge estimator P = d ((n - 1) S + r tr(S) I)^-1 (Kubokawa and Srivastava 2008), on scaled features (`scales`).
The logits are divided by a temperature: with fewer images than dimensions they are far too sure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from consilience.agents.base import (
    AgentInput,
    FeatureAgent,
    Features,
    LabelledFeatures,
    LinearLogits,
    one_hot,
    softmax,
)
from consilience.agents.heads.folds import judged_folds
from consilience.agents.heads.model_selection import (
    first_unless_beaten,
    least_of_convex,
    row_space,
    scales,
    softened_log_loss,
    softened_log_losses,
)

RIDGES = (0.3, 0.1, 1.0)
"""r; the paper has 1. The first holds unless another is better by more than noise in cross-validation."""

TEMPERATURES = np.geomspace(1 / 64, 16.0, 41)
"""The temperature is one of these times d / n: d / n makes P the inverse of the covariance, and the rest is for what so
few images leave unknown. The choice of r must not turn on what a calibrator mends afterwards; a coarser grid would."""

USUAL_DOUBT = 3.0
"""The temperature, in units of d / n, with too few images to choose it (seen with 2 to 7 a label: 2.5 to 5)."""

USUAL_DOUBT_OF_ONE = 0.75
"""The same with one image a label: P is smaller, since all variation counts as within labels (seen: 0.5 to over 1)."""

Statistics = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of the features: count (c,) and sum (c, d) of each label, and the second moments of all, (d, d)."""


class Gaussian(FeatureAgent):
    """Gaussian discriminant head with one covariance for all labels.

    It keeps sufficient statistics, so that images can be added and removed without a refit.
    """

    name = "gaussian"

    def __init__(
        self,
        statistics: Statistics,
        scale: np.ndarray,
        ridge: float,
        temperature: float,
        solved: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.statistics, self.scale, self.ridge, self.temperature = statistics, scale, ridge, temperature
        self.weights, self.bias = discriminant(statistics, ridge, scale) if solved is None else solved

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head with r and temperature chosen by cross-validated log loss, or usual ones with few images."""
        scale = scales(data.features)
        return cls(statistics_of(data.features, data.labels, data.n_labels), scale, *_choose(data, scale))

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Return the head with the statistics of added images added and those of removed ones subtracted.

        It equals a fit on all images with the same r and scales. The temperature is chosen anew: the more images, the
        smaller the logits (P is divided by n - 1), so that with the old one the calibrators fitted to this head would
        no longer suit it.
        """
        came, went = (statistics_of(part.features, part.labels, part.n_labels) for part in (added, removed))
        counts, sums, moments = (old + new - gone for old, new, gone in zip(self.statistics, came, went, strict=True))
        return type(self)((counts, sums, moments), self.scale, *_choose(data, self.scale, (self.ridge,)))

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return self.probabilities(inputs.features)

    def probabilities(self, features: Features) -> np.ndarray:
        """Return the probabilities of features (n, d), float64 (n, n_labels)."""
        return softmax((features @ self.weights.T + self.bias) / self.temperature)

    def linear(self) -> LinearLogits:
        return LinearLogits(self.weights / self.temperature, self.bias / self.temperature)

    def arrays(self) -> dict[str, np.ndarray]:
        counts, sums, moments = self.statistics
        return {
            "counts": counts,
            "sums": sums,
            "moments": moments,
            "scale": self.scale,
            "settings": np.array([self.ridge, self.temperature]),
            "weights": self.weights,  # solving for them takes longer than a diagnosis
            "bias": self.bias,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        statistics = (arrays["counts"], arrays["sums"], arrays["moments"])
        solved = arrays["weights"], arrays["bias"]
        ridge, temperature = arrays["settings"].tolist()
        return cls(statistics, arrays["scale"], ridge, temperature, solved)


def statistics_of(features: np.ndarray, labels: np.ndarray, n_labels: int) -> Statistics:
    """Return the sufficient statistics of features (n, d) with labels int (n,), float64."""
    rows = features.astype(np.float64)
    members = one_hot(labels, n_labels)
    return members.sum(axis=0), members.T @ rows, rows.T @ rows


def regularised(statistics: Statistics, ridge: float, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of the labels and the regularised scatter of features that are divided by their scale.

    Args:
        statistics: of the features before scaling.
        ridge: r.
        scale: what each feature is divided by, (d,).

    Returns:
        The means, float64 (c, d), and (n - 1) S + r tr(S) I, float64 (d, d).
    """
    counts, sums, moments = statistics
    n, dimension = counts.sum(), sums.shape[1]
    sums, moments = sums / scale, moments / np.outer(scale, scale)
    means = sums / np.maximum(counts, 1)[:, None]
    if counts.max() > 1:
        scatter = moments - means.T @ sums  # within labels: (n - 1) S
    else:  # one image a label: all that is seen to vary counts as within labels
        scatter = moments - np.outer(sums.sum(axis=0), sums.sum(axis=0)) / n
    spread = np.trace(scatter) / max(n - 1, 1)
    return means, scatter + ridge * max(spread, 1e-8) * np.eye(dimension)


def discriminant(statistics: Statistics, ridge: float, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (c, d) and bias (c,) of the linear classifier, for features that are not scaled.

    A label without images has the bias -inf. The formula stands at the top of this module; arguments as of
    `regularised`.
    """
    counts, _, _ = statistics
    n, (means, scatter) = counts.sum(), regularised(statistics, ridge, scale)
    weights = len(scatter) * np.linalg.solve(scatter, means.T).T
    with np.errstate(divide="ignore"):  # a label without images keeps probability 0
        prior = np.log(counts / n)
    return weights / scale, prior - 0.5 * np.einsum("cd,cd->c", weights, means)


def _choose(data: LabelledFeatures, scale: np.ndarray, ridges: Sequence[float] = RIDGES) -> tuple[float, float]:
    """Return the r of the least cross-validated log loss, each r at its best temperature, and that temperature."""
    splits, per_image = judged_folds(data.labels, data.groups), data.features.shape[1] / len(data.labels)
    if not splits:
        is_one_each = len(np.unique(data.labels)) == len(data.labels)
        return ridges[0], (USUAL_DOUBT_OF_ONE if is_one_each else USUAL_DOUBT) * per_image
    rows, _ = row_space((data.features - data.features.mean(axis=0, dtype=np.float64)) / scale)
    unscaled = np.ones(rows.shape[1])
    of_folds: dict[float, list[np.ndarray]] = {ridge: [] for ridge in ridges}
    for train, test in splits:
        statistics = statistics_of(rows[train], data.labels[train], data.n_labels)
        for ridge in ridges:
            weights, bias = discriminant(statistics, ridge, unscaled)
            # the d of the formula is here that of the images' own space
            of_folds[ridge].append((rows[test] @ weights.T + bias) * len(train) / rows.shape[1])
    logits = {ridge: np.concatenate(of_fold) for ridge, of_fold in of_folds.items()}
    labels = data.labels[np.concatenate([test for _, test in splits])]
    temperatures: list[float] = TEMPERATURES.tolist()

    def loss_of(ridge: float) -> Callable[[float], float]:  # convex in the inverse of the temperature
        return lambda temperature: softened_log_loss(softmax(logits[ridge] / temperature), labels)

    best = [least_of_convex(temperatures, loss_of(ridge)) for ridge in ridges]
    losses = [
        softened_log_losses(softmax(logits[r] / temperature), labels)
        for r, temperature in zip(ridges, best, strict=True)
    ]
    place = first_unless_beaten(losses)
    return ridges[place], best[place] * per_image
