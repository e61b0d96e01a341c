"""Leave-one-out on labelled features: how heads without training choose their few settings."""

from __future__ import annotations

import numpy as np

from consilience.agents.base import Features

MOST = 2000
"""Images used for the choice at most: it picks one of a few settings, and similarities grow with n^2."""


def sample(n: int) -> np.ndarray:
    """Rows to choose on: all, or a fixed random subset of MOST."""
    return np.arange(n) if n <= MOST else np.sort(np.random.default_rng(0).choice(n, MOST, replace=False))


def similarities_to_others(features: Features, rows: np.ndarray) -> np.ndarray:
    """Cosine similarities float32 (len(rows), n) of some images to all, -inf to themselves."""
    similarities = features[rows] @ features.T
    similarities[np.arange(len(rows)), rows] = -np.inf
    return np.asarray(similarities)


def nearest_labels(features: Features, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For a sample of m images: own labels (m,), labels and similarities (m, k) of the nearest others."""
    rows = sample(len(features))
    similarities = similarities_to_others(features, rows)
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, : min(k, len(features) - 1)]
    return labels[rows], labels[nearest], np.take_along_axis(similarities, nearest, axis=1)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log probability of the true labels; (n, c) and (n,)."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean())
