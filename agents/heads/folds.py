"""Folds of labelled images: what is learned from and what is judged, stratified by label.

The images of a group (one thing: a part, a plant, a burst) are never split: nobody is judged by a second view of what
it has learned from.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from consilience.agents.heads.model_selection import MAX_JUDGED_IMAGES, are_few

UNJUDGED = -1
"""The fold of an image that is always learned from, since its group is the only one with a label."""

INNER_FOLDS = 3
"""Folds in which a head chooses its settings, at most."""


def is_grouped(groups: np.ndarray) -> bool:
    """Return whether any two images belong to one group; groups int (n,)."""
    return len(np.unique(groups)) < len(groups)


def count_groups(labels: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Return how many groups have an image of each label, int (c,), c = the greatest label + 1.

    `groups` int (n,); None: every image by itself.

    >>> count_groups(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6])).tolist()
    [1, 2]
    """
    if groups is None or not is_grouped(groups):
        return np.bincount(labels)
    return np.bincount(np.unique(np.c_[labels, groups], axis=0)[:, 0])


def inner_folds(labels: np.ndarray, groups: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to fit on and rows to judge by, for up to three folds stratified by label, no group in two of them.

    Yields nothing where there are few images (`are_few`), or a label has a single one: a head then takes its default.
    Where images are grouped, the only group of a label is always fitted on.
    """
    from sklearn.model_selection import StratifiedKFold

    if groups is not None and is_grouped(groups):
        counts = count_groups(labels, groups)
        n_folds = min(INNER_FOLDS, int(np.median(counts[counts > 0])))
        folds = stratified_folds(labels, n_folds, 0, groups) if n_folds > 1 and not are_few(labels) else labels[:0]
        for fold in np.unique(folds[folds != UNJUDGED]):
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        return
    _, counts = np.unique(labels, return_counts=True)
    if (n_folds := min(INNER_FOLDS, int(counts.min()))) > 1 and not are_few(labels):
        yield from StratifiedKFold(n_folds, shuffle=True, random_state=0).split(labels, labels)


def judged_folds(labels: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return as many of the `inner_folds` as judge MAX_JUDGED_IMAGES groups: enough to choose one of a few settings."""
    splits = list(inner_folds(labels, groups))
    judged = np.cumsum([len(np.unique(groups[rows])) for _, rows in splits])
    return splits[: int(np.searchsorted(judged, MAX_JUDGED_IMAGES)) + 1]


def stratified_folds(labels: np.ndarray, n_folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the fold of each image, int (n,), stratified by label; the images of a group are in one fold.

    The only group of a label is UNJUDGED, so that every label can be learned from the other folds. A label with fewer
    groups than there are folds is in some of them only, each group in another one.
    """
    if groups is not None and is_grouped(groups):
        return _grouped_folds(labels, n_folds, seed, np.unique(groups, return_inverse=True)[1])
    counts = np.bincount(labels)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    order = order[counts[labels[order]] > 1]
    folds = np.full(len(labels), UNJUDGED, dtype=np.intp)
    folds[order] = np.arange(len(order)) % n_folds
    return folds


def _grouped_folds(labels: np.ndarray, n_folds: int, seed: int, groups: np.ndarray) -> np.ndarray:
    """Deal out groups, those of the rarest label first, the largest first, to the fold with the least of that label."""
    table = np.zeros((groups.max() + 1, labels.max() + 1), dtype=np.intp)  # images of each group and label
    np.add.at(table, (groups, labels), 1)
    spread = (table > 0).sum(axis=0)  # groups of each label
    rarest = np.where(table > 0, spread, len(table) + 1).argmin(axis=1)  # of each group, its rarest label
    shuffled = np.random.default_rng(seed).permutation(len(table))
    order = shuffled[np.lexsort((-table.sum(axis=1)[shuffled], spread[rarest[shuffled]]))]
    filled = np.zeros((n_folds, table.shape[1]), dtype=np.intp)
    fold_of = np.full(len(table), UNJUDGED, dtype=np.intp)
    for group in order:
        if spread[rarest[group]] > 1:
            fold = np.lexsort((filled.sum(axis=1), filled[:, rarest[group]]))[0]
            fold_of[group], filled[fold] = fold, filled[fold] + table[group]
    for label in np.flatnonzero(spread):  # a label all of whose groups came into one fold could not be learned for it
        folds = fold_of[table[:, label] > 0]
        if folds[0] != UNJUDGED and (folds == folds[0]).all():
            fold_of[np.flatnonzero(table[:, label] > 0)[0]] = UNJUDGED
    return np.asarray(fold_of[groups])
