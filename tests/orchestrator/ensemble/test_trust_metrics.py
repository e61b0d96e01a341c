"""ECE, OCR, CCC and Brier score: values worked out by hand, and two libraries' as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import brier_score_loss

from consilience.orchestrator.ensemble.trust_metrics import (
    brier_score,
    confidence_correctness_correlation,
    expected_calibration_error,
    measure,
    negative_log_likelihood,
    overconfidence_ratio,
    score_predictions,
)

RIGHT, WRONG = True, False


def ece(confidence: list[float], correct: list[bool], bins: int = 10) -> float:
    return expected_calibration_error(np.array(confidence), np.array(correct), bins)


def random_answers(seed: int, n: int = 500, c: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, c) of an agent that is right more often than not, and the labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    logits = 2 * rng.standard_normal((n, c)) + 2 * np.eye(c)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("n", [1, 2, 149, 150, 151, 1000])
def test_always_wrong_at_confidence_1_is_the_worst_there_is(n: int) -> None:
    assert ece([1.0] * n, [WRONG] * n) == 1.0
    assert overconfidence_ratio(np.ones(n), np.zeros(n, bool)) == 1.0


def test_always_right_at_confidence_1_is_the_best_there_is() -> None:
    assert ece([1.0] * 7, [RIGHT] * 7) == 0.0


def test_without_answers_nothing_is_wrong() -> None:
    assert ece([], []) == 0.0
    assert overconfidence_ratio(np.array([]), np.array([], bool)) == 0.0
    assert confidence_correctness_correlation(np.array([]), np.array([])) == 0.0
    assert brier_score(np.empty((0, 3)), np.empty(0, int)) == 0.0


@pytest.mark.parametrize("edge", [k / 10 for k in range(1, 10)])
def test_a_bin_holds_its_upper_edge_and_not_its_lower_one(edge: float) -> None:
    # apart: (1 - edge + edge + 0.05) / 2
    assert ece([edge, edge + 0.05], [RIGHT, WRONG]) == pytest.approx(0.525)
    # together: |(1 - edge) - (edge - 0.05)| / 2
    assert ece([edge, edge - 0.05], [RIGHT, WRONG]) == pytest.approx(abs(1.05 - 2 * edge) / 2)


def test_the_first_bin_holds_0_and_the_last_one_holds_1() -> None:
    assert ece([0.0, 0.05], [RIGHT, WRONG]) == pytest.approx((1 - 0.05) / 2)
    assert ece([1.0, 0.95], [WRONG, RIGHT]) == pytest.approx((1 - 0.05) / 2)


def test_ece_of_a_worked_example() -> None:
    confidence = [0.95, 0.91, 0.92, 0.55, 0.58, 0.31]
    correct = [RIGHT, RIGHT, WRONG, WRONG, RIGHT, RIGHT]
    # (0.9, 1]: 2 right, 2.78 claimed; (0.5, 0.6]: 1 right, 1.13 claimed; (0.3, 0.4]: 1 right, 0.31 claimed
    assert ece(confidence, correct) == pytest.approx((0.78 + 0.13 + 0.69) / 6)
    assert ece(confidence, correct, bins=1) == pytest.approx(abs(4 - 4.22) / 6)


@pytest.mark.slow  # the library takes ten seconds to import
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bins", [10, 15])
def test_ece_agrees_with_torchmetrics(seed: int, bins: int) -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    probabilities, labels = random_answers(seed)
    metric = classification.MulticlassCalibrationError(num_classes=4, n_bins=bins, norm="l1")
    expected = metric(torch.tensor(probabilities), torch.tensor(labels)).item()
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-6)


def test_ocr_counts_wrong_and_confident_answers_among_all() -> None:
    confidence, correct = np.array([0.8, 0.7999, 0.9, 1.0, 0.2]), np.array([WRONG, WRONG, RIGHT, WRONG, WRONG])
    assert overconfidence_ratio(confidence, correct) == pytest.approx(2 / 5)
    assert overconfidence_ratio(confidence, correct, threshold=0.7999) == pytest.approx(3 / 5)
    assert overconfidence_ratio(confidence, correct, threshold=1.0) == pytest.approx(1 / 5)


def test_ccc_of_a_worked_example() -> None:
    # deviations (.3, .1, -.1, -.3) and (.5, .5, -.5, -.5): 0.4 / sqrt(0.2 * 1)
    correlation = confidence_correctness_correlation(np.array([0.9, 0.7, 0.5, 0.3]), np.array([1, 1, 0, 0]))
    assert correlation == pytest.approx(0.4 / np.sqrt(0.2))


@pytest.mark.parametrize("seed", range(5))
def test_ccc_agrees_with_scipy(seed: int) -> None:
    probabilities, labels = random_answers(seed)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = pearsonr(confidence, correct.astype(float)).statistic
    assert confidence_correctness_correlation(confidence, correct) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([0.7] * 4, [1, 0, 1, 0]), ([0.1, 0.5, 0.9], [1, 1, 1]), ([0.1, 0.5, 0.9], [0, 0, 0]), ([0.5], [1])],
    ids=["constant confidence", "all right", "all wrong", "one answer"],
)
def test_ccc_is_0_where_it_is_undefined(confidence: list[float], correct: list[int]) -> None:
    assert confidence_correctness_correlation(np.array(confidence), np.array(correct)) == 0.0


def test_rounding_noise_in_a_constant_confidence_is_no_correlation() -> None:
    assert (
        confidence_correctness_correlation(0.1 + 1e-17 * np.arange(4) + np.array([0, 1e-16, 0, 0]), np.eye(4)[1]) == 0
    )


def test_brier_score_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    assert brier_score(probabilities, np.array([0, 2])) == pytest.approx(((0.09 + 0.04 + 0.01) + 2) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_brier_score_agrees_with_scikit_learn(seed: int) -> None:
    probabilities, labels = random_answers(seed)
    expected = brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
    assert brier_score(probabilities, labels) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_all_figures_stay_in_their_ranges(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = np.array([p for p, _ in answers]), np.array([right for _, right in answers])
    assert 0 <= expected_calibration_error(confidence, correct) <= 1
    # one bin can only hide a gap that ten bins show
    assert expected_calibration_error(confidence, correct, 1) <= expected_calibration_error(confidence, correct) + 1e-12
    assert overconfidence_ratio(confidence, correct) <= 1 - correct.mean() + 1e-12
    assert -1 <= confidence_correctness_correlation(confidence, correct) <= 1


def test_measure_by_hand_and_a_failure_counts_nowhere() -> None:
    silent = [np.nan, np.nan]
    predictions = np.array([[0.9, 0.1], silent, [0.2, 0.8], [0.9, 0.1], silent])
    trust = measure("probe", "second", predictions, np.array([0, 0, 1, 1, 1]), ("healthy", "rust"))
    assert (trust.agent, trust.stage, trust.n) == ("probe", "second", 3)
    assert trust.accuracy == pytest.approx(2 / 3)
    assert trust.ocr == pytest.approx(1 / 3)
    # (0.8, 0.9]: 0.9 right and 0.9 wrong; (0.7, 0.8]: 0.8 right
    assert trust.ece == pytest.approx((abs(1 - 1.8) + abs(1 - 0.8)) / 3)
    assert trust.brier == pytest.approx((0.02 + 0.08 + 1.62) / 3)
    assert trust.ccc == pytest.approx(pearsonr([0.9, 0.8, 0.9], [1, 1, 0]).statistic)
    assert trust.confusion == {"healthy": {"healthy": 1, "rust": 0}, "rust": {"healthy": 1, "rust": 1}}


def test_an_agent_that_never_answered_has_no_figures_to_speak_of() -> None:
    trust = measure("mute", "first", np.full((3, 2), np.nan), np.array([0, 1, 1]), ("healthy", "rust"))
    assert (trust.n, trust.accuracy, trust.ece, trust.ocr, trust.ccc) == (0, None, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_scorer_gives_each_metric_to_the_last_bit(seed: int) -> None:
    probabilities, labels = random_answers(seed, n=157)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    scores = score_predictions(probabilities, labels)
    assert scores.n == 157
    assert scores.accuracy == float(correct.mean())
    assert scores.ece == expected_calibration_error(confidence, correct)
    assert scores.ocr == overconfidence_ratio(confidence, correct)
    assert scores.ccc == confidence_correctness_correlation(confidence, correct)
    assert scores.brier == brier_score(probabilities, labels)
    assert scores.log_loss == negative_log_likelihood(probabilities[np.arange(157), labels])


def test_the_scorer_has_no_figure_without_predictions() -> None:
    scores = score_predictions(np.empty((0, 3)), np.empty(0, int))
    assert (scores.n, scores.accuracy, scores.brier, scores.log_loss) == (0, None, None, None)
    assert scores.ece == scores.ocr == scores.ccc == 0.0
