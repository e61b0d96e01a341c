"""How heads choose their few settings on the labelled features alone: leave-one-out and cross-validation."""

from __future__ import annotations

from collections.abc import Iterator

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


def inner_folds(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to judge by, three times; nothing where a label has a single image."""
    from sklearn.model_selection import StratifiedKFold

    _, counts = np.unique(labels, return_counts=True)
    if (folds := min(3, int(counts.min()))) > 1:
        yield from StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)


def row_space(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate (n, d) onto its own row space, (n, r), with axes (r, d): with an L2 penalty, linear heads have the same
    solution there, and with fewer images than dimensions it is found much faster."""
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    axes, triangle = np.linalg.qr(rows.T)
    return triangle.T, axes.T
