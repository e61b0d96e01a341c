"""Prediction sets: by hand, against crepes, and as a property of any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.orchestrator.decision.conformal import LabelSets, images_needed, with_top


def test_by_hand() -> None:
    # 9 images of label 0 at 50 %: k = 0.5 * 10 = 5, the fifth smallest, 0.85. 3 of label 1: k = 2, too few:
    # they take the sixth of all 12, and label 0, too, as it is smaller
    of_truth = np.array([0.9, 0.4, 0.8, 0.7, 0.95, 0.6, 0.99, 0.97, 0.85, 0.3, 0.9, 0.8])
    sets = LabelSets.calibrated(of_truth, np.array([0] * 9 + [1] * 3), 2, 0.5)
    assert sets.least.tolist() == [0.8, 0.8]
    assert sets.of(np.array([[0.85, 0.15], [0.79, 0.21], [0.2, 0.8]])).tolist() == [[1, 0], [0, 0], [0, 1]]
    assert sets.is_promised is not None
    assert sets.is_promised.tolist() == [True, False]
    assert sets.groups is not None
    assert sets.groups.tolist() == [9, 3]


def test_one_wrong_image_does_not_decide_for_its_label() -> None:
    """At 95 % each label's 32 images leave one in the tail, all 128 together six."""
    of_truth = np.full(128, 0.97)
    of_truth[::32] = 0.01
    labels = np.repeat(np.arange(4), 32)
    assert LabelSets.calibrated(of_truth, labels, 4, 0.95).least.tolist() == [0.97] * 4
    many = LabelSets.calibrated(np.repeat(of_truth, 4), np.repeat(labels, 4), 4, 0.95)
    assert many.least.tolist() == [0.97] * 4  # of 128 images of a label, 4 of them wrong, the sixth


@pytest.mark.parametrize(("coverage", "needed"), [(0.95, 19), (0.9, 9), (0.8, 4), (0.99, 99), (0.5, 1)])
def test_so_many_images_are_needed_and_one_less_excludes_nothing(coverage: float, needed: int) -> None:
    assert images_needed(coverage) == needed
    for n, excludes in ((needed, True), (needed - 1, False)):
        assert LabelSets.calibrated(np.full(n, 0.7), np.zeros(n, int), 1, coverage).excludes == excludes


def test_coverage_of_everything_keeps_every_label() -> None:
    assert images_needed(1.0) is None
    assert not LabelSets.calibrated(np.full(1000, 0.9), np.zeros(1000, int), 2, 1.0).excludes


def test_a_label_without_images_is_judged_by_all() -> None:
    assert LabelSets.calibrated(np.full(30, 0.6), np.zeros(30, int), 2, 0.9).least.tolist() == [0.6, 0.6]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.floats(0.05, 0.99))
def test_of_n_images_and_one_more_at_least_the_coverage_is_kept(scores: list[float], coverage: float) -> None:
    """Exchangeability, counted out: each of n + 1 images in the place of the new one."""
    values = np.array(scores)
    kept = 0
    for place in range(len(values)):
        others = np.delete(values, place)
        least = LabelSets.calibrated(others, np.zeros(len(others), int), 1, coverage).least[0]
        kept += bool(values[place] >= least)
    assert kept >= math.floor(coverage * len(values) - 1e-6)


def test_the_most_probable_label_stays_in_every_set() -> None:
    posterior = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    kept = with_top(posterior, np.array([[False, False, True], [False, False, False]]))
    assert kept.tolist() == [[False, True, True], [True, False, False]]


def test_as_crepes_has_it() -> None:
    crepes = pytest.importorskip("crepes", reason="crepes is not installed: it is the reference of this test alone")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    posterior = rng.dirichlet([1, 1, 1], 200)
    new = rng.dirichlet([1, 1, 1], 50)
    sets = LabelSets.calibrated(posterior[np.arange(200), labels], labels, 3, 0.9)
    classifier = crepes.ConformalClassifier().fit(1 - posterior[np.arange(200), labels], bins=labels)
    for label in range(3):
        p = classifier.predict_p(1 - new[:, [label]], bins=np.full(50, label), smoothing=False)[:, 0]
        assert (p > 0.1 + 1e-9).tolist() == (sets.of(new)[:, label]).tolist()


def test_a_group_counts_one_however_many_images_it_has() -> None:
    # three things: one with images at 0.1 and 0.2, which weigh a half each. At 50 % at most 2 of 3 + 1 may lie below,
    # the new one included: below 0.5 lie 1/2 + 1/2 + 1
    of_truth, groups = np.array([0.1, 0.2, 0.5, 0.8]), np.array([4, 4, 7, 9])
    labels = np.zeros(4, np.intp)
    assert LabelSets.calibrated(of_truth, labels, 1, 0.5, groups).least.tolist() == [0.5]
    assert LabelSets.calibrated(of_truth, labels, 1, 0.5).least.tolist() == [0.2]  # of four things the second
    assert not LabelSets.calibrated(np.full(400, 0.9), np.zeros(400, int), 1, 0.95, np.arange(400) % 18).excludes


SCORES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6)), min_size=1, max_size=40)


@given(SCORES, st.floats(0.05, 0.99))
def test_of_k_things_and_one_more_at_least_the_coverage_is_kept(images: list[tuple[float, int]], cover: float) -> None:
    """Exchangeability of groups, counted out: each in the place of the new one, judged by the share of its images."""
    values, groups = np.array([value for value, _ in images]), np.array([group for _, group in images])
    kept = 0.0
    for group in np.unique(groups):
        others = groups != group
        least = LabelSets.calibrated(values[others], np.zeros(others.sum(), int), 1, cover, groups[others]).least[0]
        kept += float((values[~others] >= least).mean())
    assert kept >= cover * len(np.unique(groups)) - 1e-6


def image_by_image(of_truth: np.ndarray, coverage: float) -> float:
    """What it was before groups: the k-th smallest."""
    k = math.floor((1.0 - coverage) * (len(of_truth) + 1) + 1e-9)
    return float(np.sort(of_truth)[k - 1]) if k else 0.0


@given(st.lists(st.floats(0, 1), max_size=150), st.floats(0.05, 0.99))
def test_where_every_image_is_a_thing_nothing_has_changed(scores: list[float], coverage: float) -> None:
    values = np.array(scores)
    names = np.random.default_rng(len(scores)).permutation(len(scores)) * 3
    sets = LabelSets.calibrated(values, np.zeros(len(scores), int), 1, coverage, names)
    assert sets.least.tolist() == [image_by_image(values, coverage)]


def test_a_rare_label_is_judged_by_all_and_then_no_label_excludes_more_than_all_do() -> None:
    # at 90 % a promise takes 49 things: 100 of label 0, 60 of 1, 8 of 2
    labels = np.repeat(np.arange(3), (100, 60, 8))
    of_truth = np.concatenate([np.linspace(0.6, 1, 100), np.linspace(0.2, 1, 60), np.full(8, 0.5)])
    sets = LabelSets.calibrated(of_truth, labels, 3, 0.9)
    first, second, everything = (image_by_image(part, 0.9) for part in (of_truth[:100], of_truth[100:160], of_truth))
    assert second < everything < first
    assert sets.least.tolist() == [everything, second, everything]
    assert sets.is_promised is not None
    assert sets.is_promised.tolist() == [True, True, False]
    alone = LabelSets.calibrated(of_truth[:160], labels[:160], 2, 0.9)
    assert alone.least.tolist() == [first, second]  # where every label has a promise each keeps to its own


@pytest.mark.parametrize("mix", [(0.5, 0.3, 0.17, 0.03), (0.6, 0.34, 0.03, 0.03), (0.5, 0.4, *[0.01] * 10)])
def test_with_rare_labels_all_together_are_covered_and_each_label_with_enough_is(mix: tuple[float, ...]) -> None:
    """200 draws: of all images at least 95 %, and of each label with a promise."""
    rng, coverage, shares, promised = np.random.default_rng(0), [], [], []
    for _ in range(200):
        labels = rng.choice(len(mix), 1000 + 400, p=np.array(mix) / sum(mix))
        scores = rng.beta(8 * np.array(mix)[labels] ** 0.5 + 1, 2)  # the rarer, the less probable its true label looks
        sets = LabelSets.calibrated(scores[:1000], labels[:1000], len(mix), 0.95)
        held = scores[1000:] >= sets.least[labels[1000:]]
        coverage.append(held.mean())
        counts = np.maximum(np.bincount(labels[1000:], minlength=len(mix)), 1)
        shares.append(np.bincount(labels[1000:], held, len(mix)) / counts)
        promised.append(sets.is_promised)
    assert np.mean(coverage) >= 0.95 - 2 * np.std(coverage) / math.sqrt(200)
    assert np.mean(coverage) <= 0.965
    every = np.all(np.array(promised), axis=0)
    assert every.any()
    assert not every.all()
    assert np.mean(shares, axis=0)[every].min() >= 0.948


def test_images_of_labels_that_are_more_frequent_in_use_weigh_more_in_the_threshold_of_all() -> None:
    # at 50 %, two labels of two images each, together. Label 1 occurs three times as often in use: it weighs 3 of 4
    of_truth, labels = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 0, 1, 1])
    assert LabelSets.calibrated(of_truth, labels, 2, 0.5).least.tolist() == [0.4, 0.4]
    sets = LabelSets.calibrated(of_truth, labels, 2, 0.5, ratio=np.array([0.5, 1.5]))
    # a new image of label 0 weighs 0.5: of 4.5 at most 2.25 may lie below; 1.5 do below 0.6, 3 below 0.8
    # one of label 1 weighs 1.5: of 5.5 at most 2.75; 2.5 below 0.6, 4 below 0.8
    assert sets.least.tolist() == [0.6, 0.6]
