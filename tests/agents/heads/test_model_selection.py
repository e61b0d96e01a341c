"""Leave-one-out statistics: nobody is a neighbour of itself, and large memories are sampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference

from consilience.agents.base import LabelledFeatures, softmax
from consilience.agents.heads.model_selection import (
    MAX_JUDGED_IMAGES,
    first_unless_beaten,
    least_of_convex,
    most_similar,
    nearest_labels,
    parts_of,
    sample,
    similarities_to_others,
    softened_log_loss,
)


def unit(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_all_images_are_used_up_to_a_limit_and_then_a_fixed_sample() -> None:
    assert sample(MAX_JUDGED_IMAGES).tolist() == list(range(MAX_JUDGED_IMAGES))
    chosen = sample(MAX_JUDGED_IMAGES + 500)
    assert len(set(chosen.tolist())) == MAX_JUDGED_IMAGES
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, sample(MAX_JUDGED_IMAGES + 500))


def test_an_image_is_not_similar_to_itself() -> None:
    features, rows = unit(10), np.array([2, 7])
    similarities = similarities_to_others(LabelledFeatures(features, np.zeros(10, int), 1), rows)
    assert similarities[[0, 1], rows].tolist() == [-np.inf, -np.inf]
    others = np.ones((2, 10), bool)
    others[[0, 1], rows] = False
    np.testing.assert_allclose(similarities[others], (features[rows] @ features.T)[others], atol=1e-6)


def test_the_nearest_others_come_nearest_first() -> None:
    features, labels = unit(12), np.arange(12) % 3
    known = LabelledFeatures(features, labels, 3)
    own, near, similarities = nearest_labels(known, 4)
    assert np.array_equal(own, labels)
    for row in range(12):
        order = [other for other in np.argsort(-(features @ features[row])) if other != row][:4]
        assert near[row].tolist() == labels[order].tolist()
        np.testing.assert_allclose(similarities[row], features[order] @ features[row], atol=1e-6)
    assert nearest_labels(known, 100)[1].shape == (12, 11)


def test_an_image_of_the_same_group_is_no_neighbour() -> None:
    features, labels = unit(12), np.arange(12) % 3
    groups = np.arange(12) // 4
    _, near, similarities = nearest_labels(LabelledFeatures(features, labels, 3, groups=groups), 9)
    for row in range(12):
        order = [other for other in np.argsort(-(features @ features[row])) if groups[other] != groups[row]]
        assert near[row].tolist() == [*labels[order].tolist(), -1]  # 8 images are of other groups
        np.testing.assert_allclose(similarities[row, :8], features[order] @ features[row], atol=1e-6)


def test_log_loss_is_what_scikit_learn_says_with_one_more_image_shared_by_all_labels() -> None:
    probabilities, labels = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]), np.array([0, 1, 1])
    twice, both = np.repeat(probabilities, 2, axis=0), np.tile([0, 1], 3)
    share = np.where(both == np.repeat(labels, 2), 3 / 4 + 1 / 8, 1 / 8)
    assert softened_log_loss(probabilities, labels) == pytest.approx(reference(both, twice, sample_weight=share))
    assert np.isfinite(softened_log_loss(np.array([[1.0, 0.0]]), np.array([1])))


def test_where_no_image_is_wrong_the_sharpest_setting_does_not_win() -> None:
    labels = np.arange(40) % 2
    logits = np.where(np.arange(2) == labels[:, None], 1.0, -1.0)
    best = min((0.1, 0.3, 1.0, 3.0), key=lambda temperature: softened_log_loss(softmax(logits / temperature), labels))
    assert softmax(logits / best).max() == pytest.approx(1 - 1 / 41, abs=0.03)
    assert best == 0.3


def test_the_first_setting_holds_unless_another_is_better_by_more_than_a_standard_error() -> None:
    first = np.array([1.0, 1.0, 1.0, 1.0])
    ahead = np.array([0.5, -0.3, 0.5, -0.3])  # on the mean 0.1, with a standard error of 0.4 / sqrt(4) = 0.2
    assert first_unless_beaten([first, first - ahead]) == 0
    assert first_unless_beaten([first, first - ahead - 0.14]) == 1
    assert first_unless_beaten([first, first - 0.1, first - 0.2]) == 2
    assert first_unless_beaten([first, first + 0.1]) == 0
    assert first_unless_beaten([first]) == 0


@given(st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 8))
def test_the_most_similar_are_those_of_a_stable_sort(rows: list[list[int]], k: int) -> None:
    similarities = np.array(rows, dtype=np.float32)
    columns, values = most_similar(similarities, k)
    greatest_first = -np.sort(-similarities, axis=1)[:, :k]
    assert np.array_equal(values, greatest_first)
    assert np.array_equal(np.take_along_axis(similarities, columns, axis=1), values)
    for row in columns.tolist():
        assert len(set(row)) == len(row)
    equal = values[:, 1:] == values[:, :-1]
    assert (np.diff(columns, axis=1)[equal] > 0).all()


@pytest.mark.parametrize(("rows", "columns", "count"), [(0, 5, 0), (7, 3, 1), (3, 2**24, 3), (5, 2**22, 3)])
def test_parts_cover_all_rows_and_hold_so_many_cells(rows: int, columns: int, count: int) -> None:
    parts = list(parts_of(rows, columns))
    assert len(parts) == count
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))


@given(st.integers(1, 40), st.floats(-5, 45))
def test_the_least_of_a_convex_loss_is_found_with_few_tries(count: int, where: float) -> None:
    tried: list[float] = []

    def loss(value: float) -> float:
        tried.append(value)
        return abs(value - where)

    values = [float(number) for number in range(count)]
    assert abs(least_of_convex(values, loss) - where) == min(abs(value - where) for value in values)
    assert len(tried) <= 2 * np.ceil(np.log2(count))
