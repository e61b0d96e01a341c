"""The non-visual part alone, on hand-made records: it calibrates, fuses, settles, decides whom to ask again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilience.orchestrator.calibration import Temperature
from consilience.orchestrator.fusion import Fusion
from consilience.orchestrator.panel import Witness
from consilience.orchestrator.policy import Policy, Threshold
from consilience.orchestrator.weighing import Weigher
from consilience.prediction import Prediction, Stage
from consilience.settings import PolicySettings
from consilience.task import Task
from consilience.trust import Trust

TASK = Task.from_labels(["healthy", "rust", "scab"])
EVIDENCE: dict[str, Any] = {"neighbours": [], "distribution": {}, "novelty": 0.0}


class Expert:
    """An agent of which only the name and the second look matter here."""

    def __init__(self, name: str, looks_again: bool = True) -> None:
        self.name, self.looks_again = name, looks_again


def witness(agent: str, stage: Stage = "first", temperature: float = 1.0, accuracy: float = 0.8) -> Witness:
    trust = Trust(agent, stage, 50, 0.1, 0.0, 1.0, accuracy=accuracy)
    return Witness(agent, stage, Temperature(temperature), trust)


def weigher(*witnesses: Witness, weights: list[float] | None = None, **settings: Any) -> Weigher:
    fusion = Fusion(np.array(weights or [1.0] * len(witnesses)))
    return Weigher(TASK, witnesses, fusion, Policy(PolicySettings(**settings), Threshold(0.85, 1.0, 1.0)))


def look(row: int, agent: str, said: list[float] | None, stage: Stage = "first", **more: Any) -> dict[str, Any]:
    given = None if said is None else dict(zip(TASK.names, said, strict=True))
    return {"row": row, "prediction": Prediction(agent, stage, given, **more).to_dict()}


RUST, SCAB = [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]


def test_words_are_calibrated_before_they_are_pooled() -> None:
    one = weigher(witness("qwen", temperature=2.0), witness("probe"), weights=[1.0, 0.5])
    (result,) = one.weigh([look(0, "probe", SCAB), look(0, "qwen", RUST)], [0], [0.0], 1).values()
    soft = np.sqrt(RUST) / np.sqrt(RUST).sum()
    assert result["calibrated"] == {"qwen": pytest.approx(soft.tolist()), "probe": pytest.approx(SCAB)}
    pooled = soft * np.sqrt(SCAB)
    assert result["posterior"] == pytest.approx((pooled / pooled.sum()).tolist())
    assert result["weights"] == {"qwen": 1.0, "probe": 0.5}
    assert result["round"] == 1


def test_a_second_look_takes_the_place_of_the_first() -> None:
    one = weigher(witness("qwen"), witness("probe"), witness("qwen", "second"))
    looks = [look(0, "qwen", RUST), look(0, "probe", RUST), look(0, "qwen", SCAB, "second")]
    result = one.weigh(looks, [0], [0.0], 2)[0]
    assert set(result["calibrated"]) == {"probe", "qwen, second look"}
    assert set(result["weights"]) == {"probe", "qwen, second look"}
    assert result["posterior"][1] == pytest.approx(result["posterior"][2])


@pytest.mark.parametrize("silent", [{"error": "unplugged"}, {"abstained": True}])
def test_a_second_look_without_an_answer_leaves_the_first_standing(silent: dict[str, Any]) -> None:
    one = weigher(witness("qwen"), witness("qwen", "second"))
    result = one.weigh([look(0, "qwen", RUST), look(0, "qwen", None, "second", **silent)], [0], [0.0], 2)[0]
    assert result["posterior"] == pytest.approx(RUST)


def test_rows_are_weighed_each_by_its_own_words() -> None:
    one = weigher(witness("qwen"), witness("probe"))
    looks = [look(3, "qwen", RUST), look(5, "qwen", SCAB), look(5, "probe", SCAB), look(4, "probe", RUST)]
    results = one.weigh(looks, [5, 3], [0.0, 0.999], 1)
    assert set(results) == {3, 5}
    assert results[3]["posterior"] == pytest.approx(RUST)
    assert results[5]["posterior"][2] > 0.95
    assert [reason.split(":")[0] for reason in results[3]["reasons"]] == ["novelty"]
    assert results[5]["reasons"] == []


def test_where_nobody_answered_there_is_no_posterior() -> None:
    one = weigher(witness("qwen"))
    looks = [look(0, "qwen", None, error="unplugged")]
    results = one.weigh(looks, [0], [0.0], 1)
    assert results[0]["posterior"] == []
    assert results[0]["reasons"] != []
    (conclusion,) = one.conclude(looks, results, [EVIDENCE])
    assert set(conclusion) == {"predictions"}


AGENTS: Any = {"qwen": Expert("qwen"), "gpt": Expert("gpt"), "probe": Expert("probe", looks_again=False)}
WITNESSES = (
    witness("qwen", accuracy=0.6),
    witness("gpt", accuracy=0.8),
    witness("probe"),
    witness("qwen", "second", accuracy=0.9),
    witness("gpt", "second", accuracy=0.7),
)
FIRST = [look(row, agent, RUST) for agent in ("qwen", "gpt", "probe") for row in (0, 1)]


@pytest.mark.parametrize(
    ("wish", "asked"), [("never", set()), ("when-it-helps", {"qwen"}), ("always", {"qwen", "gpt"})]
)
def test_whom_to_ask_again(wish: str, asked: set[str]) -> None:
    whom = weigher(*WITNESSES, second_look=wish).whom_to_ask_again(FIRST, [1], AGENTS)
    assert set(whom) == asked
    for agent, (rows, answers) in whom.items():
        assert rows == [1]
        assert [(one["agent"], one["stage"]) for one in answers] == [(agent, "first")]


def test_nobody_is_asked_a_third_time_and_not_who_failed_at_first() -> None:
    one = weigher(*WITNESSES, second_look="always")
    looks = [
        *[look(0, "qwen", RUST), look(0, "gpt", None, error="unplugged")],
        *[look(1, "qwen", None, abstained=True), look(1, "gpt", RUST)],
        look(1, "gpt", None, "second", error="unplugged"),
    ]
    whom = one.whom_to_ask_again(looks, [0, 1], AGENTS)
    assert {agent: rows for agent, (rows, _) in whom.items()} == {"qwen": [0, 1]}
    assert one.whom_to_ask_again([*looks, look(0, "qwen", RUST, "second")], [0], AGENTS) == {}


def test_a_conclusion_holds_all_that_led_to_it() -> None:
    one = weigher(witness("qwen"), witness("probe"), witness("qwen", "second"), weights=[1.0, 0.5, 2.0])
    looks = [
        look(0, "qwen", SCAB, cost_usd=0.25),
        look(0, "probe", RUST),
        look(0, "qwen", RUST, "second", cost_usd=0.5),
    ]
    (conclusion,) = one.conclude(looks, one.weigh(looks, [0], [0.0], 2), [EVIDENCE])
    assert (conclusion["label"], conclusion["verdict"], conclusion["reasons"]) == ("rust", "confident", [])
    assert (conclusion["rounds"], conclusion["cost_usd"]) == (2, 0.75)
    assert [(said["stage"], said["weight"], said["calibrated"] is None) for said in conclusion["predictions"]] == [
        ("first", 0.0, True),
        ("first", 0.5, False),
        ("second", 2.0, False),
    ]
    assert "In the second look qwen changed from scab to rust." in conclusion["rationale"]
    assert (
        "For it: qwen, second look (rust 90%, 80% of the weight, right on 80% of 50 labelled images), probe"
        in (conclusion["rationale"])
    )


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [(0.5, "rust"), (0.6, "rust"), (0.61, "rust scab"), (0.95, "rust scab healthy"), (1.0, "rust scab healthy")],
)
def test_the_prediction_set_is_the_smallest_that_covers(coverage: float, expected: str) -> None:
    one = weigher(witness("qwen"), coverage=coverage)
    looks = [look(0, "qwen", [0.1, 0.6, 0.3])]
    (conclusion,) = one.conclude(looks, one.weigh(looks, [0], [0.0], 1), [EVIDENCE])
    assert conclusion["prediction_set"] == expected.split()


def test_a_referral_says_why() -> None:
    one = weigher(witness("qwen"), witness("probe"))
    looks = [look(0, "qwen", [0.3, 0.4, 0.3]), look(0, "probe", None, error="unplugged")]
    found = [{"id": label, "label": label, "similarity": 0.9, "source": ""} for label in ("scab", "rust", "rust")]
    evidence = {"neighbours": found, "distribution": {"healthy": 0.0, "rust": 2 / 3, "scab": 1 / 3}, "novelty": 0.2}
    (conclusion,) = one.conclude(looks, one.weigh(looks, [0], [0.0], 1), [evidence])
    assert conclusion["verdict"] == "refer"
    for words in (
        "rust has a posterior of 40.0%.",
        "Failed and not counted: probe.",
        "Of the 3 most similar known images: 2 rust, 1 scab.",
        "A person should look: weak posterior: 0.400 for rust is below 0.850.",
    ):
        assert words in conclusion["rationale"]
