"""Prediction sets: by hand, against crepes, and as a property of any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.orchestrator.decision.conformal import LabelSets, images_needed, with_top


def test_by_hand() -> None:
    # 9 images of label 0 at 50 %: k = 0.5 * 10 = 5, the fifth smallest; 3 of label 1: k = 2, so the pool's sixth of 12
    of_truth = np.array([0.9, 0.4, 0.8, 0.7, 0.95, 0.6, 0.99, 0.97, 0.85, 0.3, 0.9, 0.8])
    sets = LabelSets.calibrated(of_truth, np.array([0] * 9 + [1] * 3), 2, 0.5)
    assert sets.least.tolist() == [0.85, 0.8]
    assert sets.of(np.array([[0.85, 0.15], [0.84, 0.16], [0.2, 0.8]])).tolist() == [[1, 0], [0, 0], [0, 1]]


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
