"""The table of an evaluation, by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from consilience import Diagnosis, Prediction
from consilience.core.errors import DatasetError
from consilience.evals.scores import accuracy_interval, scores
from tests.support.bare_diagnosis import bare_diagnosis


def answer(agent: str, rust: float | None, weight: float = 1.0, stage: str = "first") -> Prediction:
    """A prediction between healthy and rust; None: it failed."""
    if rust is None:
        return Prediction(agent, stage, error="unplugged", weight=0.0)  # type: ignore[arg-type]
    shares = {"healthy": 1 - rust, "rust": rust}
    return Prediction(agent, stage, shares, calibrated=shares, weight=weight)  # type: ignore[arg-type]


def diagnosis(rust: float, *predictions: Prediction) -> Diagnosis:
    posterior = {"healthy": 1 - rust, "rust": rust}
    return bare_diagnosis("rust" if rust > 0.5 else "healthy", posterior, ("rust",), predictions=predictions)


def test_scores_by_hand() -> None:
    diagnoses = [
        diagnosis(0.95, answer("probe", 0.9, 1.5), answer("qwen", 0.6, 0.5)),
        diagnosis(0.85, answer("probe", 0.9, 1.0), answer("qwen", None)),
        diagnosis(0.25, answer("probe", 0.3, 1.0), answer("qwen", 0.2, 3.0)),
    ]
    probe, qwen, fusion = scores(diagnoses, ["rust", "healthy", "healthy"])
    assert (probe.who, probe.n, qwen.who, qwen.n, fusion.who, fusion.n) == ("probe", 3, "qwen", 2, "fusion", 3)
    assert (probe.accuracy, fusion.accuracy) == pytest.approx((2 / 3, 2 / 3))
    assert qwen.accuracy == 1.0
    assert probe.weight == pytest.approx((0.75 + 1.0 + 0.25) / 3)
    assert qwen.weight == pytest.approx((0.25 + 0.75) / 2)
    assert fusion.weight is None
    # (0.8, 0.9]: 0.9 right, 0.9 wrong; (0.6, 0.7]: 0.7 right
    assert probe.ece == pytest.approx((abs(1 - 1.8) + 0.3) / 3)
    assert qwen.ece == pytest.approx((0.4 + 0.2) / 2)
    # (0.9, 1]: 0.95 right; (0.8, 0.9]: 0.85 wrong; (0.7, 0.8]: 0.75 right
    assert fusion.ece == pytest.approx((0.05 + 0.85 + 0.25) / 3)
    assert (probe.ocr, fusion.ocr) == pytest.approx((1 / 3, 1 / 3))
    assert qwen.ocr == 0.0
    assert qwen.brier == pytest.approx((2 * 0.16 + 2 * 0.04) / 2)
    assert fusion.ccc == pytest.approx(0.0, abs=1e-12)  # right at 0.95 and 0.75, wrong between
    assert (fusion.low, fusion.high) == accuracy_interval(2, 3)


def test_a_second_look_has_a_row_of_its_own() -> None:
    table = scores([diagnosis(0.9, answer("qwen", 0.4), answer("qwen", 0.9, stage="second"))], ["rust"])
    assert [(score.who, score.accuracy) for score in table] == [
        ("qwen", 0.0),
        ("qwen, second look", 1.0),
        ("fusion", 1.0),
    ]


def test_an_agent_without_weight_anywhere_has_none() -> None:
    agent, _ = scores([diagnosis(0.5001, answer("qwen", 0.4, 0.0))], ["rust"])
    assert agent.weight == 0.0


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (9, 10), (157, 160), (1, 1000)])
def test_the_interval_has_wilsons_closed_form(right: int, n: int) -> None:
    z, share = 1.959963984540054, right / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert accuracy_interval(right, n) == pytest.approx((max(middle - half, 0), min(middle + half, 1)))


def test_without_answers_nothing_is_known() -> None:
    assert accuracy_interval(0, 0) == (0.0, 1.0)
    assert scores([], []) == []


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DatasetError, match="2 labels for 1 diagnoses"):
        scores([diagnosis(0.9)], ["rust", "rust"])
    with pytest.raises(DatasetError, match="does not know: scab; it knows healthy, rust"):
        scores([diagnosis(0.9)], ["scab"])
