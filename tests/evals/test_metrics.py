"""Metrics against values worked out by hand, independent definitions and other libraries."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.evals import metrics
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error, negative_log_likelihood


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, many of them equal, and whether they were right."""
    n = draw(st.integers(1, 60))
    levels = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.8, 0.95, 1.0]) | st.floats(0, 1)
    return draw(hnp.arrays(np.float64, n, elements=levels)), draw(hnp.arrays(np.bool_, n))


def test_adaptive_error_by_hand() -> None:
    confidence = np.array([0.6, 0.6, 0.9, 1.0])
    correct = np.array([True, False, True, True])
    # two bins of two: |0.5 - 0.6| and |1 - 0.95|
    assert metrics.adaptive_calibration_error(confidence, correct, bins=2) == pytest.approx((0.1 + 0.05) / 2)


def test_always_wrong_with_full_confidence_is_as_bad_as_can_be() -> None:
    """A library that we know of says 0 here: it drops its last bin."""
    confidence, correct = np.ones(150), np.zeros(150, bool)
    assert metrics.adaptive_calibration_error(confidence, correct) == 1.0
    assert metrics.binned(confidence, correct, metrics.equal_width()).error == 1.0


@given(judged())
def test_bins_of_equal_width_give_the_ece_of_trust(both: tuple[np.ndarray, np.ndarray]) -> None:
    bins = metrics.binned(*both, metrics.equal_width())
    assert bins.error == pytest.approx(expected_calibration_error(*both), abs=1e-12)
    assert bins.n.sum() == len(both[0])
    assert ((bins.low <= bins.confidence + 1e-12) & (bins.confidence <= bins.high + 1e-12)).all()


@given(judged(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_adaptive_bins_hold_equal_confidence_together_and_the_order_does_not_matter(
    both: tuple[np.ndarray, np.ndarray], bins: int, random: st.DataObject
) -> None:
    confidence, correct = both
    binned = metrics.binned(confidence, correct, metrics.equal_mass(confidence, bins))
    assert len(binned.n) <= bins
    for level in set(confidence.tolist()):
        inside = (binned.low < level) & (level <= binned.high)
        inside[0] |= level == 0.0
        assert inside.sum() == 1
    order = np.array(random.sample(range(len(confidence)), len(confidence)))  # type: ignore[attr-defined]
    again = metrics.adaptive_calibration_error(confidence[order], correct[order], bins)
    assert again == pytest.approx(metrics.adaptive_calibration_error(confidence, correct, bins), abs=1e-12)


def test_adaptive_bins_of_distinct_confidences_are_even() -> None:
    confidence = np.random.default_rng(0).permutation(np.linspace(0.3, 0.99, 1000))
    assert set(metrics.binned(confidence, confidence > 0.5, metrics.equal_mass(confidence)).n.tolist()) == {100}


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(0.01, 1)))
def test_log_loss_is_scikit_learns(raw: np.ndarray) -> None:
    from sklearn.metrics import log_loss

    probabilities = raw / raw.sum(axis=1, keepdims=True)
    truth = np.arange(len(raw)) % 3
    expected = log_loss(truth, probabilities, labels=[0, 1, 2])
    assert negative_log_likelihood(probabilities[np.arange(len(raw)), truth]) == pytest.approx(expected)


def test_a_probability_of_nought_for_the_truth_is_finite() -> None:
    assert negative_log_likelihood(np.array([0.0])) == pytest.approx(-math.log(np.finfo(float).eps))


@given(judged())
def test_auroc_is_the_share_of_pairs_in_order(both: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, correct = both
    right, wrong = confidence[correct], confidence[~correct]
    auroc = metrics.confidence_auroc(confidence, correct)
    if not len(right) or not len(wrong):
        assert auroc is None
        return
    pairs = [(r > w) + 0.5 * (r == w) for r in right for w in wrong]
    assert auroc == pytest.approx(sum(pairs) / len(pairs))


def test_risk_and_coverage_by_hand() -> None:
    curve = metrics.risk_coverage(np.array([0.6, 0.9, 0.8, 0.8]), np.array([False, True, True, False]))
    np.testing.assert_allclose(curve.threshold, [0.9, 0.8, 0.6])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(curve.risk, [0.0, 1 / 3, 0.5])
    # places 1 to 4: 0; half an error in 2; one in 3; two in 4
    assert curve.area == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)


@given(judged())
def test_the_area_is_the_mean_over_orders_of_ties(both: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, correct = both
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(300):
        order = np.lexsort([rng.random(len(confidence)), -confidence])
        areas.append((np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)).mean())
    area = metrics.risk_coverage(confidence, correct).area
    assert area == pytest.approx(np.mean(areas), abs=5 * np.std(areas) / math.sqrt(300) + 1e-9)


@given(judged())
def test_risk_at_full_coverage_is_the_share_of_errors(both: tuple[np.ndarray, np.ndarray]) -> None:
    curve = metrics.risk_coverage(*both)
    assert curve.coverage[-1] == 1.0
    assert curve.risk[-1] == pytest.approx(1 - both[1].mean())
    assert (np.diff(curve.threshold) < 0).all()
    assert (np.diff(curve.coverage) > 0).all()


def test_a_thinned_curve_keeps_its_end_and_its_area() -> None:
    rng = np.random.default_rng(0)
    curve = metrics.risk_coverage(rng.random(5000), rng.random(5000) < 0.9)
    thin = curve.thinned(200)
    assert len(thin.coverage) == 200
    assert (thin.coverage[-1], thin.risk[-1], thin.area) == (1.0, curve.risk[-1], curve.area)
    assert set(thin.risk.tolist()) <= set(curve.risk.tolist())


def test_figures_by_label_by_hand() -> None:
    truth, named = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    by_label = metrics.per_label(metrics.confusion(truth, named, 4))
    np.testing.assert_array_equal(by_label.n, [3, 2, 0, 0])
    np.testing.assert_allclose(by_label.precision, [1.0, 0.5, 0.0, np.nan])
    np.testing.assert_allclose(by_label.recall, [2 / 3, 0.5, np.nan, np.nan])
    np.testing.assert_allclose(by_label.f1[:2], [0.8, 0.5])
    assert metrics.macro_f1(by_label) == pytest.approx((0.8 + 0.5) / 2)
    np.testing.assert_array_equal(
        metrics.confusion(truth, named, 4), [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_the_mean_over_labels_that_images_have(pairs: list[tuple[int, int]]) -> None:
    truth, named = (np.array(side) for side in zip(*pairs, strict=True))
    scores = []
    for label in set(truth.tolist()):
        both = sum(t == n == label for t, n in pairs)
        scores.append(2 * both / (sum(t == label for t, _ in pairs) + sum(n == label for _, n in pairs)))
    assert metrics.macro_f1(metrics.per_label(metrics.confusion(truth, named, 4))) == pytest.approx(np.mean(scores))


def test_mcnemars_exact_test_by_hand() -> None:
    first = np.array([True] * 8 + [False] * 2)
    second = np.array([True] * 4 + [False] * 5 + [True])
    result = metrics.paired(first, second)
    assert result is not None
    assert (result.n, result.only_first, result.only_second) == (10, 4, 1)
    assert result.difference == pytest.approx(0.3)
    assert result.p_value == pytest.approx(2 * (1 + 5) / 2**5)  # five coins, at most one shows the rarer side


def test_the_paired_interval_is_bonetts_and_prices() -> None:
    """By hand for b = 1, c = 7, n = 21: 2/23 - 8/23 -+ 1.96 sqrt((10/23 - 36/529) / 23)."""
    first = np.array([True] * 1 + [False] * 7 + [True] * 13)
    second = np.array([False] * 1 + [True] * 7 + [True] * 13)
    result = metrics.paired(first, second)
    assert result is not None
    assert result.difference == pytest.approx(-6 / 21)
    assert (result.low, result.high) == pytest.approx((-0.5084, -0.0133), abs=2e-4)


def test_the_paired_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(800):
        kind = rng.choice(4, 120, p=[0.8, 0.09, 0.04, 0.07])  # both right, only the first, only the second, neither
        result = metrics.paired(kind <= 1, (kind == 0) | (kind == 2))
        assert result is not None
        held.append(result.low <= 0.05 <= result.high)
    assert 0.93 <= np.mean(held) <= 0.98


def test_who_never_differ_have_an_interval_with_a_width() -> None:
    result = metrics.paired(np.ones(50, bool), np.ones(50, bool))
    assert result is not None
    assert (result.difference, result.p_value) == (0.0, 1.0)
    assert result.low < 0 < result.high


def test_what_a_second_look_changed() -> None:
    truth, before, after = np.array([0, 0, 1, 1]), np.array([1, 0, 1, 0]), np.array([0, 1, 1, 2])
    assert metrics.change(truth, before, after) == metrics.PairedChange(n=4, changed=3, better=1, worse=1)


def test_nothing_is_defined_for_nothing() -> None:
    nothing, nobody = np.empty(0), np.empty(0, bool)
    assert negative_log_likelihood(nothing) is None
    assert metrics.confidence_auroc(nothing, nobody) is None
    assert metrics.risk_coverage(nothing, nobody).area is None
    assert metrics.paired(nobody, nobody) is None
    assert metrics.adaptive_calibration_error(nothing, nobody) == 0.0
    assert metrics.macro_f1(metrics.per_label(np.zeros((2, 2), int))) is None
