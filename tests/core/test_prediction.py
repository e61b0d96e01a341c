"""The records that agents, the memory and the orchestrator hand around: predictions, evidence, trust."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consilience.core.evidence import Evidence, Neighbour
from consilience.core.prediction import Prediction, check_distribution
from consilience.core.trust import Trust

HALF = {"a": 0.5, "b": 0.5}
NAN, INF = float("nan"), float("inf")


def test_a_prediction_names_its_most_probable_label_and_is_as_sure_of_it() -> None:
    prediction = Prediction("probe", probabilities={"a": 0.2, "b": 0.7, "c": 0.1})
    assert (prediction.label, prediction.confidence, prediction.stage) == ("b", 0.7, "first")
    assert Prediction("probe", probabilities=HALF).label == "a"
    assert Prediction("vlm", probabilities=HALF, confidence=0.9).confidence == 0.9


def test_an_abstention_and_a_failure_have_no_label() -> None:
    for silent in (Prediction("vlm", abstained=True), Prediction("vlm", error="timeout")):
        assert (silent.label, silent.confidence, silent.probabilities) == (None, None, None)


@pytest.mark.parametrize(
    "probabilities",
    [{}, {"a": 1.2, "b": -0.2}, {"a": NAN, "b": 1.0}, {"a": INF, "b": 0.0}, {"a": 0.5, "b": 0.4}, {"a": 0.0, "b": 0.0}],
)
def test_probabilities_that_are_no_distribution_are_refused_by_the_agents_name(probabilities: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^probe: "):
        Prediction("probe", probabilities=probabilities)
    with pytest.raises(ValueError, match=r"^probe, calibrated|^probe: calibrated"):
        Prediction("probe", probabilities=HALF, calibrated=probabilities)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"probabilities": HALF, "abstained": True},
        {"probabilities": HALF, "error": "x"},
        {"abstained": True, "error": "x"},
    ],
)
def test_a_prediction_is_one_thing_only(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of probabilities, abstention and error"):
        Prediction("probe", **state)


def test_calibrated_probabilities_are_of_the_same_labels() -> None:
    with pytest.raises(ValueError, match="other labels"):
        Prediction("probe", probabilities=HALF, calibrated={"a": 1.0})
    with pytest.raises(ValueError, match="other labels"):
        Prediction("probe", abstained=True, calibrated=HALF)


@pytest.mark.parametrize("name", ["confidence", "weight", "cost_usd", "tokens", "seconds"])
@pytest.mark.parametrize("value", [-0.5, NAN, INF])
def test_numbers_are_finite_and_not_negative(name: str, value: float) -> None:
    field: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        Prediction("probe", probabilities=HALF, **field)


def test_a_confidence_over_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence 1\.1"):
        Prediction("probe", probabilities=HALF, confidence=1.1)


@given(
    hnp.arrays(np.float32, st.integers(2, 200), elements=st.floats(-30, 30, width=32)),
)
def test_a_softmax_in_single_precision_is_a_distribution_and_becomes_plain_data(logits: np.ndarray) -> None:
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    given_ = {f"label {number}": share for number, share in enumerate(shares)}
    prediction = Prediction("probe", probabilities=given_, calibrated=given_)
    given_.clear()  # what the caller does with its own mapping is nothing to the prediction
    assert prediction.probabilities is not None
    assert {type(share) for share in prediction.probabilities.values()} == {float}
    restored = Prediction.from_dict(json.loads(json.dumps(prediction.to_dict())))
    assert restored == prediction
    assert restored.label == f"label {int(shares.argmax())}"


def test_every_field_survives_json() -> None:
    full = Prediction(
        "vlm", "second", HALF, 0.6, "spots", calibrated={"a": 0.4, "b": 0.6}, weight=0.3, cost_usd=0.01, tokens=12,
        seconds=0.4, raw="{}",
    )  # fmt: skip
    for prediction in (full, Prediction("vlm", error="timeout", seconds=30.0), Prediction("vlm", abstained=True)):
        data = json.loads(json.dumps(prediction.to_dict()))
        assert data["label"] == prediction.label
        assert Prediction.from_dict(data) == prediction
        assert set(data) == {field.name for field in dataclasses.fields(Prediction)} | {"label"}


def test_a_check_says_whose_and_which_value_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"the posterior: the probability of 'b' is -0\.5"):
        check_distribution({"a": 1.5 - 0.5, "b": -0.5}, "the posterior")
    with pytest.raises(ValueError, match=r"the posterior: the probabilities sum to 0\.75"):
        check_distribution({"a": 0.5, "b": 0.25}, "the posterior")


def test_evidence_survives_json_and_reads_its_pictures_again() -> None:
    pictures = {"1": b"jpeg"}
    evidence = Evidence((Neighbour("1", "scab", 0.9, "1.jpg"), Neighbour("2", "rust", -0.1)), {"scab": 1.0})
    restored = Evidence.from_dict(json.loads(json.dumps(evidence.to_dict())), pictures.get)
    assert restored == evidence
    assert [case.thumbnail() for case in restored.neighbours] == [b"jpeg", None]
    assert [case.thumbnail() for case in evidence.neighbours] == [None, None]


def test_evidence_of_numpys_numbers_is_plain_data() -> None:
    number: Any = np.float32(0.5)
    evidence = Evidence((Neighbour("1", "a", number),), {"a": number, "b": number})
    data = json.loads(json.dumps(evidence.to_dict()))
    assert (data["neighbours"][0]["similarity"], data["distribution"]) == (0.5, HALF)


def test_a_distribution_of_evidence_sums_to_1() -> None:
    with pytest.raises(ValueError, match=r"the evidence: the probabilities sum to 0\.5"):
        Evidence((Neighbour("1", "a", 0.5),), {"a": 0.5})


def test_trust_survives_json() -> None:
    summary = Trust("expert", "first", n=0, ece=0.02, ocr=0.0, ccc=-1.0)
    full = Trust("probe", "second", 10, 0.1, 0.2, 0.3, 0.9, 0.2, {"a": {"a": 9, "b": 1}, "b": {"a": 0, "b": 0}})
    for trust in (summary, full):
        assert Trust(**json.loads(json.dumps(trust.to_dict()))) == trust


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ece", 1.1),
        ("ece", NAN),
        ("ocr", -0.1),
        ("ccc", -1.1),
        ("ccc", INF),
        ("accuracy", 2),
        ("brier", 2.1),
        ("n", -1),
    ],
)
def test_trust_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    figures: dict[str, Any] = {"n": 10, "ece": 0.1, "ocr": 0.1, "ccc": 0.5} | {name: value}
    with pytest.raises(ValueError, match=f"trust of 'probe': {name} is"):
        Trust("probe", "first", **figures)
