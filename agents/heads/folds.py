"""Folds of labelled images: what is learned from and what is judged, stratified by label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from consilience.agents.heads.model_selection import are_few

UNJUDGED = -1
"""The fold of an image that is always learned from, since it is the only one of its label."""


def inner_folds(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to fit on and rows to judge by, for up to three folds stratified by label.

    Yields nothing where there are few images (`are_few`), or a label has a single one: a head then takes its default.
    """
    from sklearn.model_selection import StratifiedKFold

    _, counts = np.unique(labels, return_counts=True)
    if (folds := min(3, int(counts.min()))) > 1 and not are_few(labels):
        yield from StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)


def stratified_folds(labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each image, int (n,), stratified by label; UNJUDGED for the only image of a label.

    A label with fewer images than there are folds is in some of them only, each image in another one.
    """
    counts = np.bincount(labels)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    order = order[counts[labels[order]] > 1]
    folds = np.full(len(labels), UNJUDGED, dtype=np.intp)
    folds[order] = np.arange(len(order)) % n_folds
    return folds
