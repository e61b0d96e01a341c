"""Linear probe: multinomial logistic regression on the features (Radford et al. 2021, CLIP, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, LabelledFeatures, softmax
from consilience.agents.heads.folds import inner_folds
from consilience.agents.heads.model_selection import row_space, scales

STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Inverse regularisation strengths that cross-validation chooses from."""

USUAL_STRENGTH = 10_000.0
"""The strength with too few images to choose it."""


class Probe(FeatureAgent):
    """Linear probe head: features are scaled (`scales`), L2 regularisation is chosen by cross-validated log loss."""

    name = "probe"

    def __init__(self, weights: np.ndarray, bias: np.ndarray, strength: float) -> None:
        self.weights, self.bias, self.strength = weights, bias, strength

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head; a label without images gets probability 0."""
        from sklearn.linear_model import LogisticRegression

        # Newton's method: with so little regularisation L-BFGS takes ten times as long, or stops far from the solution.
        model = partial(LogisticRegression, solver="newton-cg", max_iter=1000, tol=1e-6)
        features, labels, n_labels = data.features, data.labels, data.n_labels
        centre = features.mean(axis=0, dtype=np.float64)
        scale = scales(features)
        rows, axes = row_space((features - centre) / scale)
        present = np.unique(labels)
        strength = _choose_strength(model, rows, labels)
        fitted = model(C=strength).fit(rows, labels)
        coefficients, intercept = fitted.coef_, fitted.intercept_
        if len(present) == 2:  # scikit-learn keeps one row for two labels
            coefficients, intercept = np.vstack([-coefficients, coefficients]) / 2, np.r_[-intercept, intercept] / 2
        weights = np.zeros((n_labels, features.shape[1]))
        bias = np.full(n_labels, -np.inf)  # a label without images keeps probability 0
        weights[present] = coefficients @ axes / scale
        bias[present] = intercept - weights[present] @ centre
        return cls(weights, bias, strength)

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return softmax(inputs.features @ self.weights.T + self.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "strength": np.array(self.strength)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        return cls(arrays["weights"], arrays["bias"], float(arrays["strength"]))


def _choose_strength(model: Callable[..., Any], rows: np.ndarray, labels: np.ndarray) -> float:
    """Return the strength with the least cross-validated log loss; USUAL_STRENGTH with too few images."""
    from sklearn.metrics import log_loss

    present = np.unique(labels)
    splits = list(inner_folds(labels))
    if not splits:
        return USUAL_STRENGTH

    def loss(strength: float) -> float:
        fitted = ((model(C=strength).fit(rows[train], labels[train]), test) for train, test in splits)
        losses = [log_loss(labels[test], model.predict_proba(rows[test]), labels=present) for model, test in fitted]
        return float(sum(losses))

    return min(STRENGTHS, key=loss)
