"""How heads choose their few settings on the labelled features alone: leave-one-out and losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from consilience.agents.base import Features, LabelledFeatures, one_hot

MAX_JUDGED_IMAGES = 2000
"""The most images a choice is made on: it picks one of a few settings, and the work grows with n^2."""

CELLS = 2**23
"""Similarities held at a time: 32 MB of float32."""

FEW_IMAGES = 8
"""With fewer images a label than this, on average, cross-validation tells less than the default does."""


def are_few(labels: np.ndarray) -> bool:
    """Return whether there are fewer than FEW_IMAGES images a label, on average; labels int (n,)."""
    return len(labels) < FEW_IMAGES * len(np.unique(labels))


def sample(n: int) -> np.ndarray:
    """Return the rows of n images to choose settings on: all, or a fixed random subset of MAX_JUDGED_IMAGES."""
    return (
        np.arange(n)
        if n <= MAX_JUDGED_IMAGES
        else np.sort(np.random.default_rng(0).choice(n, MAX_JUDGED_IMAGES, replace=False))
    )


def similarities_to_others(data: LabelledFeatures, rows: np.ndarray) -> np.ndarray:
    """Return the cosine similarities of some rows to all n images, float32 (len(rows), n), -inf to their own groups."""
    similarities = data.features[rows] @ data.features.T
    similarities[data.groups[rows][:, None] == data.groups] = -np.inf
    return np.asarray(similarities)


def nearest_labels(data: LabelledFeatures, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for a sample of m images, what their nearest images of other groups are: the input of leave-one-out.

    Returns:
        The images' own labels int (m,); the labels of the k nearest others int (m, k), -1 where there are fewer; their
        similarities (m, k), -1 there.
    """
    rows, most = sample(len(data.features)), min(k, len(data.features) - 1)
    nearest, near = np.empty((len(rows), most), dtype=np.intp), np.empty((len(rows), most), dtype=np.float32)
    for part in parts_of(len(rows), len(data.features)):
        nearest[part], near[part] = most_similar(similarities_to_others(data, rows[part]), most)
    is_other = np.isfinite(near)
    return data.labels[rows], np.where(is_other, data.labels[nearest], -1), np.where(is_other, near, -1.0)


def most_similar(similarities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k columns with the greatest of similarities (m, n), most similar first, int (m, k), and these, (m, k).

    Of two that are equal the one to the left is first.

    >>> columns, values = most_similar(np.array([[0.1, 0.9, 0.5, 0.9]]), 3)
    >>> columns.tolist(), values.tolist()
    ([[1, 3, 2]], [[0.9, 0.9, 0.5]])
    """
    k = min(k, similarities.shape[1])
    if k == 0:
        return np.empty((len(similarities), 0), dtype=np.intp), np.empty((len(similarities), 0), similarities.dtype)
    columns = np.sort(np.argpartition(similarities, -k, axis=1)[:, -k:], axis=1)
    values = np.take_along_axis(similarities, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


def parts_of(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of so many rows, in each of which a matrix with that many columns has at most CELLS cells."""
    step = max(1, CELLS // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def soft_targets(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Return one-hot targets (n, c), softened by one image of unknown label spread over all (after Platt 1999).

    A model fitted to them that makes no mistake on n images is about 1 - 1/n sure, never certain.
    """
    unknown = 1.0 / (len(labels) + 1)
    return (1 - unknown) * one_hot(labels, n_labels) + unknown / n_labels


def softened_log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each row of probabilities (n, c) to the soft targets of its label, (n,).

    With hard targets the sharpest setting wins wherever no held-out image is wrong, and its first mistake later is made
    with certainty.
    """
    targets = soft_targets(labels, probabilities.shape[1])
    return np.asarray(-(targets * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1))


def softened_log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of `softened_log_losses`."""
    return float(softened_log_losses(probabilities, labels).mean())


def mean_and_error(differences: np.ndarray) -> tuple[float, float]:
    """Return the mean of (n,) numbers and its standard error."""
    return float(differences.mean()), float(differences.std() / np.sqrt(len(differences)))


def first_unless_beaten(losses: Sequence[np.ndarray]) -> int:
    """Return the index of the setting to use: the best if it clearly beats the first, else the first.

    `losses` holds for each setting its losses on the same n images, (n,). Clearly is by more than a standard error of
    the paired differences (after Breiman et al. 1984): less is lost by keeping the usual setting than by following
    noise.
    """
    best = int(np.argmin([per_setting.mean() for per_setting in losses]))
    ahead, error = mean_and_error(losses[0] - losses[best])
    return best if ahead > error else 0


def least_of_convex(values: Sequence[float], loss: Callable[[float], float]) -> float:
    """Return the value of the least loss, which falls up to there and rises from there on; values ascending.

    Of k values about 2 log2 k are tried.

    >>> least_of_convex([1.0, 2.0, 4.0, 8.0], lambda value: (value - 3.0) ** 2)
    2.0
    """
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if loss(values[middle]) <= loss(values[middle + 1]):
            high = middle
        else:
            low = middle + 1
    return values[low]


def row_space(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, d) rotated onto their own row space, (n, r), and its orthonormal axes (r, d); r = min(n, d).

    Linear heads with an L2 penalty have the same solution there, and with fewer images than dimensions it is found much
    faster.
    """
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    axes, triangle = np.linalg.qr(rows.T)
    return triangle.T, axes.T


def scales(features: Features) -> np.ndarray:
    """Return what to divide each feature by before a linear head penalises all alike: float64 (d,), about 1.

    Features that take both signs, as CLIP's, differ in scale for no reason that concerns the labels, and a few would
    dominate: each is divided by its standard deviation, as in a shrinkage towards unequal variances (Schaefer and
    Strimmer 2005, target D); the variances are drawn a little towards their mean. Features that are never negative, as
    behind a rectifier, vary little where they are seldom active, and scaled up they would be noise: all ones.
    """
    if len(features) < 2 or (features >= 0).all():
        return np.ones(features.shape[1])
    own = features.var(axis=0, dtype=np.float64)
    usual = max(float(own.mean()), 1e-12)
    return np.asarray(np.sqrt((own / usual + 0.1) / 1.1))
