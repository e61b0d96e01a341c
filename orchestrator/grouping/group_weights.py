"""Each group counts one, however many images it has (Dunn, Wasserman and Ramdas 2022)."""

from __future__ import annotations

import numpy as np


def group_weights(groups: np.ndarray) -> np.ndarray:
    """Return what each image weighs, (n,), so that each group weighs one; `groups`: int (n,).

    >>> group_weights(np.array([7, 7, 3])).tolist()
    [0.5, 0.5, 1.0]
    """
    _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / sizes[place])


def worth_in_groups(weights: np.ndarray, groups: np.ndarray) -> float:
    """Return how many groups of equal weight would tell as much as these images, float (n,) (Kish 1965).

    >>> worth_in_groups(np.array([1.0, 1.0, 2.0]), np.array([7, 7, 3]))
    2.0
    """
    by_group = np.bincount(np.unique(groups, return_inverse=True)[1], weights=weights)
    return float(by_group.sum() ** 2 / max((by_group**2).sum(), 1e-12))
