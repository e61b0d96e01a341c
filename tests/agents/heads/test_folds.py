"""Folds that split no group, and from which every label can be learned."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consilience.agents.heads.folds import (
    UNJUDGED,
    count_groups,
    inner_folds,
    is_grouped,
    judged_folds,
    stratified_folds,
)

IMAGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=60)
"""Label and group of each image."""


def test_groups_are_counted_by_label() -> None:
    labels, groups = np.array([0, 0, 1, 1, 1, 3]), np.array([7, 7, 7, 8, 9, 9])
    assert count_groups(labels, groups).tolist() == [1, 3, 0, 1]
    assert count_groups(labels).tolist() == [2, 3, 0, 1]
    assert is_grouped(groups)
    assert not is_grouped(np.arange(6))


@given(IMAGES, st.integers(2, 5), st.integers(0, 3))
def test_a_group_is_in_one_fold_and_every_label_can_be_learned_for_each(
    images: list[tuple[int, int]], n_folds: int, seed: int
) -> None:
    labels, groups = (np.array(column) for column in zip(*images, strict=True))
    folds = stratified_folds(labels, n_folds, seed, groups)
    assert folds.min() >= UNJUDGED
    assert folds.max() < n_folds
    if is_grouped(groups):
        for group in groups:
            assert len(np.unique(folds[groups == group])) == 1
    for fold in np.unique(folds[folds != UNJUDGED]):
        assert set(labels[folds != fold]) == set(labels)


def test_no_more_folds_are_judged_than_a_choice_needs() -> None:
    # Three folds: of 2,000 things they judge 667 each; of 4,000 two judge 2,000; of 6,000 one does.
    for n, folds in ((2_000, 3), (4_000, 2), (6_000, 1)):
        labels, groups = np.arange(n) % 2, np.arange(n)
        judged = judged_folds(labels, groups)
        assert [rows.tolist() for _, rows in judged] == [
            rows.tolist() for _, rows in list(inner_folds(labels, groups))[:folds]
        ]
    pairs = np.arange(4_000) // 2  # what counts are things: 2,000 here
    assert len(judged_folds(pairs % 2, pairs)) == 3
    assert judged_folds(np.array([0, 1]), np.arange(2)) == []


def test_the_groups_of_a_label_are_dealt_out_evenly() -> None:
    labels = np.repeat([0, 1], 60)
    groups = np.arange(120) // 4  # 15 groups of four images a label
    folds = stratified_folds(labels, 5, 0, groups)
    for label in (0, 1):
        assert np.bincount(folds[labels == label]).tolist() == [12] * 5


def test_the_only_group_of_a_label_is_always_learned_from() -> None:
    labels, groups = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    folds = stratified_folds(labels, 2, 0, groups)
    assert folds[:2].tolist() == [UNJUDGED] * 2
    assert sorted({*folds[2:4].tolist(), *folds[4:].tolist()}) == [0, 1]


def test_without_groups_the_folds_are_those_of_single_images() -> None:
    labels = np.arange(40) % 3
    assert stratified_folds(labels, 5, 1, np.arange(40)).tolist() == stratified_folds(labels, 5, 1).tolist()


def test_settings_are_judged_on_other_groups() -> None:
    labels, groups = np.repeat([0, 1], 40), np.arange(80) // 5
    splits = list(inner_folds(labels, groups))
    assert len(splits) == 3
    for known, judged in splits:
        assert not set(groups[known]) & set(groups[judged])
        assert sorted([*known, *judged]) == list(range(80))
