"""Known against novel: by hand, and against scikit-learn's curve read in another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.evals.novelty_detection import compared, detection, of_diagnoses

SCORES = st.lists(st.integers(0, 9).map(lambda i: i / 9), min_size=1, max_size=40).map(np.array)


def test_by_hand() -> None:
    result = detection(np.array([0.1, 0.2, 0.6]), np.array([0.5, 0.9]))
    assert result.auroc == pytest.approx(5 / 6)  # of six pairs one is the wrong way round
    assert result.fpr_at_95 == pytest.approx(1 / 3)  # both are found from 0.5 on, and 0.6 is a false alarm


@given(SCORES, SCORES)
def test_every_pair_counts_once_and_ties_half(known: np.ndarray, novel: np.ndarray) -> None:
    wins = (novel[:, None] > known).mean() + (novel[:, None] == known).mean() / 2
    assert detection(known, novel).auroc == pytest.approx(wins)


@given(SCORES, SCORES)
def test_false_alarms_are_counted_at_the_highest_threshold_that_finds_enough(
    known: np.ndarray, novel: np.ndarray
) -> None:
    threshold = max(t for t in novel if (novel >= t).mean() >= 0.95)
    assert detection(known, novel).fpr_at_95 == pytest.approx((known >= threshold).mean())


def test_without_one_of_the_kinds_there_is_nothing_to_compare() -> None:
    some, none = {"": np.array([0.5])}, {"": np.empty(0)}
    assert compared(some, none, 0.95) is None
    result = compared(some, {"": np.array([0.99])}, 0.95)
    assert result is not None
    assert (result.known_called, result.novel_called, result.score.auroc, result.signs) == (0.0, 1.0, 1.0, {})


def test_signs_that_a_panel_does_not_know_are_left_out() -> None:
    scores = of_diagnoses([(0.5, {}), (0.75, {})])
    assert {name: values.tolist() for name, values in scores.items()} == {"": [0.5, 0.75]}
