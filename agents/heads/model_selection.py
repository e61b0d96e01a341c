"""How heads choose their few settings on the labelled features alone: leave-one-out and cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from consilience.agents.base import Features, one_hot

MAX_JUDGED_IMAGES = 2000
"""Images used for the choice at most: it picks one of a few settings, and similarities grow with n^2."""

FEW_IMAGES = 8
"""With fewer images a label than this, on average, cross-validation tells less than a prior belief does."""

UNJUDGED = -1
"""The fold of an image that is always learned from, since it is the only one of its label."""


def are_few(labels: np.ndarray) -> bool:
    """Whether there are fewer than FEW images a label, on average."""
    return len(labels) < FEW_IMAGES * len(np.unique(labels))


def sample(n: int) -> np.ndarray:
    """Rows to choose on: all, or a fixed random subset of MOST."""
    return (
        np.arange(n)
        if n <= MAX_JUDGED_IMAGES
        else np.sort(np.random.default_rng(0).choice(n, MAX_JUDGED_IMAGES, replace=False))
    )


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


def soft_targets(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """One-hot targets (n, c), softened by one image of unknown label spread over all (after Platt 1999).

    Whatever is fitted to them makes, without a mistake on n images, claims of about 1 - 1/n, never certainty.
    """
    unknown = 1.0 / (len(labels) + 1)
    return (1 - unknown) * one_hot(labels, n_labels) + unknown / n_labels


def softened_log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each row of probabilities (n, c) to the soft targets of its label, (n,).

    With hard targets the sharpest setting wins wherever no held-out image is wrong, and the first that is then is wrong
    with certainty.
    """
    targets = soft_targets(labels, probabilities.shape[1])
    return np.asarray(-(targets * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1))


def softened_log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of `softened_log_losses`."""
    return float(softened_log_losses(probabilities, labels).mean())


def mean_and_error(differences: np.ndarray) -> tuple[float, float]:
    """The mean of (n,), and its standard error."""
    return float(differences.mean()), float(differences.std() / np.sqrt(len(differences)))


def first_unless_beaten(losses: Sequence[np.ndarray]) -> int:
    """Which of several settings, given each one's losses on the same n images, (n,).

    The best, if it beats the first by more than a standard error of the paired differences, else the first (after
    Breiman et al. 1984): less is lost by keeping the usual one than by following noise.
    """
    best = int(np.argmin([per_setting.mean() for per_setting in losses]))
    ahead, error = mean_and_error(losses[0] - losses[best])
    return best if ahead > error else 0


def inner_folds(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to judge by, three times; nothing where there are few, or a single one of a label.

    A head then takes its default.
    """
    from sklearn.model_selection import StratifiedKFold

    _, counts = np.unique(labels, return_counts=True)
    if (folds := min(3, int(counts.min()))) > 1 and not are_few(labels):
        yield from StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)


def stratified_folds(labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The fold of each image, int (n,), stratified by label; UNJUDGED for the only image of a label.

    A label with fewer images than there are folds is in some of them only, each image in another one.
    """
    counts = np.bincount(labels)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    order = order[counts[labels[order]] > 1]
    folds = np.full(len(labels), UNJUDGED, dtype=np.intp)
    folds[order] = np.arange(len(order)) % n_folds
    return folds


def row_space(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate (n, d) onto its own row space, (n, r), with axes (r, d): with an L2 penalty, linear heads have the same
    solution there, and with fewer images than dimensions it is found much faster."""
    if len(rows) >= rows.shape[1]:
        return rows, np.eye(rows.shape[1])
    axes, triangle = np.linalg.qr(rows.T)
    return triangle.T, axes.T


def scales(features: Features) -> np.ndarray:
    """What to divide each feature by before a linear head penalises all alike, float64 (d,), about 1.

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
