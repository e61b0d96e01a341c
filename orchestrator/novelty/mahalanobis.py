"""How far an image's vector lies from the mean of the nearest label, in the Mahalanobis space.

Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples and adversarial attacks"; here
the angle to the mean, seen from the mean of all images (`whitening`): 1 - cosine.
"""

from __future__ import annotations

import numpy as np

from consilience.agents.base import one_hot


def label_means(rows: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Return unit directions of the labels' means, (c, d), of whitened vectors (n, d); zeros for an empty label."""
    sums = one_hot(labels, n_labels).astype(rows.dtype).T @ rows
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def mahalanobis_distance(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return 1 - cosine, (m,), in [0, 2], of whitened vectors (m, d) and the nearest of the means (c, d).

    >>> mahalanobis_distance(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.eye(2)).tolist()
    [0.0, 1.0]
    """
    return np.asarray(1.0 - (rows @ means.T).max(axis=1))
