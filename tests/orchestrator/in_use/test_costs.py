"""The answer that costs least, by hand; and costs that do not fit the labels."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from consilience.core.errors import SettingsError
from consilience.core.settings.decision_settings import CostSettings
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.settling import settles
from consilience.orchestrator.in_use.costs import Costs

NAMES = ("healthy", "scab")


def costs(mistakes: Any, person: float = 1.0, names: tuple[str, ...] = NAMES) -> Costs:
    priced = Costs.of(CostSettings(mistakes=mistakes, person=person), names)
    assert priced is not None
    return priced


def test_without_costs_there_are_none() -> None:
    assert Costs.of(CostSettings(), NAMES) is None


@pytest.mark.parametrize(
    ("mistakes", "matrix"),
    [
        (3, [[0, 3], [3, 0]]),
        ({"healthy": 1, "scab": 20}, [[0, 1], [20, 0]]),
        ({"healthy": {"scab": 1}, "scab": {"healthy": 20}}, [[0, 1], [20, 0]]),
        ({"healthy": {"healthy": 0.5, "scab": 2}, "scab": 7}, [[0.5, 2], [7, 0]]),
    ],
)
def test_costs_by_number_by_label_and_by_mistake(mistakes: Any, matrix: list[list[float]]) -> None:
    assert costs(mistakes).mistakes.tolist() == matrix


def test_the_cheapest_label_is_named_and_settled_where_a_person_costs_more() -> None:
    # scab at 10 %: to say healthy costs 0.1 * 20 = 2, to say scab 0.9 * 1
    dear = costs({"healthy": 1, "scab": 20}, person=0.5)
    posterior = np.array([[0.9, 0.1], [0.99, 0.01], [0.4, 0.6]])
    assert dear.expected(posterior) == pytest.approx(np.array([[2.0, 0.9], [0.2, 0.99], [12.0, 0.4]]))
    assert dear.best(posterior).tolist() == [1, 0, 1]
    assert dear.is_settled(posterior).tolist() == [False, True, True]
    # true labels: scab, scab, healthy. The named ones cost 0, 20, 1; the most probable ones 20, 20, 1
    figures = dear.figures(np.array([1, 1, 0]), dear.best(posterior), posterior.argmax(1), dear.is_settled(posterior))
    assert figures is not None
    assert astuple(figures) == pytest.approx((21.5 / 3, 0.5, 7.0, 41 / 3))  # cost, always, never, most probable


SHARES = arrays(np.float64, (6, 4), elements=st.floats(0.01, 1)).map(
    lambda rows: rows / rows.sum(axis=1, keepdims=True)
)


@given(SHARES, st.floats(0, 100))
def test_where_every_mistake_costs_the_same_the_most_probable_label_is_named(
    posterior: np.ndarray, cost: float
) -> None:
    best = costs(cost, names=("a", "b", "c", "d")).best(posterior)
    assert np.take_along_axis(posterior, best[:, None], 1)[:, 0] == pytest.approx(posterior.max(axis=1), abs=1e-9)


@given(SHARES, arrays(np.float64, (4, 4), elements=st.floats(0, 50)), st.floats(0, 50))
def test_no_label_is_expected_to_cost_less(posterior: np.ndarray, matrix: np.ndarray, person: float) -> None:
    priced = Costs(matrix, person)
    chosen = priced.expected(posterior)[np.arange(6), priced.best(posterior)]
    assert (chosen <= priced.expected(posterior).min(axis=1) + 1e-9).all()


@pytest.mark.parametrize(
    ("mistakes", "message"),
    [
        ({"healthy": 1}, r"decision.costs.mistakes has no cost for 'scab'"),
        ({"healthy": 1, "scab": 2, "scrab": 3}, r"'scrab', which is no label \(the nearest is scab\)"),
        ({"healthy": {"scab": 1}, "scab": {}}, r"has no cost for 'healthy': every other label .* the truth is 'scab'"),
        ({"healthy": {"rust": 1}, "scab": 1}, r"'rust', which is no label"),
    ],
)
def test_costs_that_do_not_fit_the_labels_are_refused(mistakes: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        costs(mistakes)


def test_a_policy_with_costs_names_the_cheapest_label_and_says_when_a_person_is_cheaper() -> None:
    known = CalibrationSet.of(np.tile([0.9, 0.1], (40, 1)), np.r_[np.zeros(36, int), np.ones(4, int)])
    policy = Policy.chosen(PolicySettings(), known.in_use(None, costs({"healthy": 1, "scab": 20}, person=0.5)))
    posterior = np.array([[0.9, 0.1], [0.99, 0.01]])
    calibrated = posterior[None]
    assert policy.named(posterior).tolist() == [1, 0]
    first, second = policy.reasons(posterior, calibrated, np.ones((2, 1)), NAMES, ("probe",), [0.0, 0.0])
    assert first == ["A mistake is dearer than a question: scab is expected to cost 0.9, asking a person 0.5"]
    assert second == []
    assert "scab" in policy.prediction_sets(posterior, calibrated, NAMES, ("probe",))[0]


def test_what_settles_by_costs_and_what_that_costs() -> None:
    # 40 images at 0.9: scab is named, for 0.9; a person costs 1. Of 36 healthy ones each costs 1, of 4 others nothing
    known = CalibrationSet.of(np.tile([0.9, 0.1], (40, 1)), np.r_[np.zeros(36, int), np.ones(4, int)])
    rule = settles(PolicySettings(), known.in_use(None, costs({"healthy": 1, "scab": 20})))
    assert (rule.by, rule.threshold.settled) == ("costs", 1.0)
    assert rule.threshold.accuracy == pytest.approx(0.1)
    assert rule.costs is not None
    assert astuple(rule.costs) == pytest.approx((0.9, 1.0, 0.9, 2.0))
