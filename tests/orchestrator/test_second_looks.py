"""Who is asked again, about what, with what in hand, and what stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, Evidence, Prediction, fit, load_settings
from consilience.agents import AgentInput
from consilience.core.errors import ConsilienceError
from consilience.core.prediction import look_name
from consilience.orchestrator.panel.panel import Panel

STRANGE = 3
"""A row that lies far from all that is known, as row 0 does: it cannot be settled."""


@pytest.fixture(scope="module")
def mixed(blobs: Any) -> np.ndarray:
    """Strange, beech, cedar, strange, apple."""
    strange, clear = np.eye(8, dtype=np.float32)[5:7], blobs.drawn(3, 1, 0.05)[0]
    return np.stack([strange[0], clear[1], clear[2], strange[1], clear[0]])


@pytest.fixture
def run(expert_panel: Path, mixed: np.ndarray, scripted: Any) -> Callable[..., tuple[list[Diagnosis], Any]]:
    """Diagnose `mixed` with an expert that does as told; the diagnoses and the expert."""

    def diagnose(look: Any, again: Any, **settings: Any) -> tuple[list[Diagnosis], Any]:
        expert = scripted("expert", look, again)
        with Diagnoser.open(expert_panel, agents=[expert], **settings) as diagnoser:
            results = list(diagnoser.diagnose_vectors(mixed, list("abcde")))
        assert all(isinstance(result, Diagnosis) for result in results)
        return [result for result in results if isinstance(result, Diagnosis)], expert

    return diagnose


def looks_of(diagnosis: Diagnosis, agent: str = "expert") -> dict[str, Prediction]:
    return {p.stage: p for p in diagnosis.predictions if p.agent == agent}


def test_only_what_is_unsettled_is_asked_about_once(run: Any, poor: Any, follow: Any, mixed: np.ndarray) -> None:
    results, expert = run(poor, follow)
    np.testing.assert_array_equal(expert.asked, [mixed])
    np.testing.assert_array_equal(expert.asked_again, [mixed[[0, STRANGE]]])
    assert [result.rounds for result in results] == [2, 1, 1, 2, 1]
    assert [len(looks_of(result)) for result in results] == [2, 1, 1, 2, 1]
    assert [results[row].label for row in (1, 2, 4)] == ["beech", "cedar", "apple"]


def test_nobody_is_asked_a_third_time(run: Any, poor: Any, follow: Any) -> None:
    results, expert = run(poor, follow, policy__max_rounds=5)
    assert results[STRANGE].verdict == "refer"
    assert [result.rounds for result in results] == [2, 1, 1, 2, 1]
    assert len(expert.asked_again) == 1


def test_a_second_look_has_its_own_first_answer_and_the_evidence_in_hand(run: Any, poor: Any, follow: Any) -> None:
    seen: list[tuple[Sequence[Prediction], Sequence[Evidence]]] = []

    def again(inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> Any:
        seen.append((first, evidence))
        return follow(inputs, first, evidence)

    results, _ = run(poor, again, memory__neighbours=7)
    ((first, evidence),) = seen
    for place, row in enumerate((0, STRANGE)):
        own = looks_of(results[row])["first"]
        assert (first[place].agent, first[place].stage) == ("expert", "first")
        assert first[place].probabilities == own.probabilities
        assert evidence[place].neighbours == results[row].evidence.neighbours
        assert len(evidence[place].neighbours) == 7


def test_the_second_look_is_weighed_in_place_of_the_first(run: Any, poor: Any, follow: Any) -> None:
    results, _ = run(poor, follow)
    looks = looks_of(results[STRANGE])
    assert (looks["first"].weight, looks["first"].calibrated) == (0.0, None)
    assert looks["second"].calibrated is not None
    assert looks["second"].weight is not None
    assert {(trust.agent, trust.stage) for trust in results[STRANGE].trust} >= {("expert", "second")}
    assert "In the second look expert " in results[STRANGE].rationale


def test_what_a_second_look_changed_can_be_seen(run: Any, poor: Any, follow: Any) -> None:
    unasked, _ = run(poor, follow, policy__second_look="never")
    results, _ = run(poor, follow)
    assert results[STRANGE].first_posterior == unasked[STRANGE].posterior != results[STRANGE].posterior
    assert unasked[STRANGE].first_posterior is None


def test_an_async_second_look_is_awaited(run: Any, poor: Any, follow: Any) -> None:
    async def again(*arguments: Any) -> Any:
        return follow(*arguments)

    results, _ = run(poor, again)
    assert looks_of(results[STRANGE])["second"].error is None


def test_a_second_look_that_fails_leaves_the_first_standing(run: Any, poor: Any) -> None:
    def again(*arguments: Any) -> Any:
        raise RuntimeError("unplugged")

    results, _ = run(poor, again)
    looks = looks_of(results[STRANGE])
    assert looks["second"].error == "RuntimeError: unplugged"
    assert looks["first"].calibrated is not None
    never, _ = run(poor, again, policy__second_look="never")
    assert results[STRANGE].posterior == never[STRANGE].posterior


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({}, 1),
        ({"policy__second_look": "always"}, 1),
        ({"policy__second_look": "never"}, 0),
        ({"policy__max_rounds": 1}, 0),
        ({"policy__max_seconds": 1e-6}, 0),
    ],
    ids=str,
)
def test_what_stops_second_looks(run: Any, poor: Any, follow: Any, settings: dict[str, Any], times: int) -> None:
    results, expert = run(poor, follow, **settings)
    assert len(expert.asked_again) == times
    assert results[STRANGE].rounds == 1 + times


def test_when_the_time_is_up_nobody_is_asked_again(
    vectors: Path, tmp_path: Path, scripted: Any, good: Any, poor: Any, follow: Any, mixed: np.ndarray
) -> None:
    async def hangs(inputs: AgentInput) -> None:
        await asyncio.Event().wait()

    quick = load_settings(agents="neighbours")
    fit(
        vectors,
        tmp_path / "panel",
        settings=quick,
        group="none",
        agents=[scripted("expert", poor, follow), scripted("slow", good)],
    )
    expert = scripted("expert", poor, follow)
    with Diagnoser.open(
        tmp_path / "panel", agents=[expert, scripted("slow", hangs)], policy__max_seconds=0.3
    ) as diagnoser:
        (result,) = diagnoser.diagnose_vectors(mixed[[STRANGE]], ["d"])
    assert isinstance(result, Diagnosis)
    assert (len(expert.asked), len(expert.asked_again), result.rounds) == (1, 0, 1)
    assert str(looks_of(result, "slow")["first"].error).startswith("no answer within 0.")


def test_when_the_time_is_up_who_has_not_answered_counts_as_failed(run: Any, poor: Any, follow: Any) -> None:
    results, _ = run(poor, follow, policy__max_seconds=1e-6)
    for result in results:
        assert looks_of(result)["first"].error == "no answer within 0 seconds"
        assert looks_of(result, "gaussian")["first"].calibrated is not None


def at_a_price(function: Any, price: float, cached: bool = False) -> Any:
    def look(*arguments: Any) -> list[Prediction]:
        return [
            Prediction("", probabilities=p.probabilities, cost_usd=price, cached=cached) for p in function(*arguments)
        ]

    return look


@pytest.fixture(scope="module")
def dear_panel(
    tmp_path_factory: pytest.TempPathFactory, vectors: Path, scripted: Any, good: Any, poor: Any, follow: Any
) -> Path:
    """With an expert, whose first look costs 0.25 and whose second 0.5, and one whose look costs 0.75."""
    path = tmp_path_factory.mktemp("panels") / "dear"
    expert = scripted("expert", at_a_price(poor, 0.25), at_a_price(follow, 0.5, cached=True))
    agents = [expert, scripted("grandee", at_a_price(good, 0.75))]
    fit(vectors, path, settings=load_settings(agents="neighbours"), group="none", agents=agents)
    return path


NOT_ASKED = "not asked: an answer costs about {} US dollars, and policy.max_cost_usd is {}"


@pytest.mark.parametrize(
    ("bound", "expert", "grandee", "paid"),
    [
        (None, ["first", "second"], None, 1.5),
        (1.5, ["first", "second"], None, 1.5),
        (1.49, ["first"], None, 1.0),
        (0.99, ["first", "second"], NOT_ASKED.format("0.75", "0.99"), 0.75),
        (0.74, ["first"], NOT_ASKED.format("0.75", "0.74"), 0.25),
        (0.2, [NOT_ASKED.format("0.25", "0.2")], NOT_ASKED.format("0.75", "0.2"), 0.0),
    ],
)
def test_a_budget_of_a_diagnosis_buys_the_cheapest_looks_and_is_never_exceeded(
    dear_panel: Path, mixed: np.ndarray, scripted: Any, good: Any, poor: Any, follow: Any,
    bound: float | None, expert: list[str], grandee: str | None, paid: float,
) -> None:  # fmt: skip
    agents = [
        scripted("expert", at_a_price(poor, 0.25), at_a_price(follow, 0.5)),
        scripted("grandee", at_a_price(good, 0.75)),
    ]
    with Diagnoser.open(dear_panel, agents=agents, policy__max_cost_usd=bound, policy__second_look="always") as opened:
        (result,) = opened.diagnose_vectors(mixed[[STRANGE]], ["d"])
    assert isinstance(result, Diagnosis)
    assert result.cost_usd == paid
    assert [p.error or p.stage for p in looks_of(result).values()] == expert
    assert looks_of(result, "grandee")["first"].error == grandee
    assert looks_of(result, "neighbours")["first"].error is None
    assert [len(agent.asked) + len(agent.asked_again) for agent in agents] == [
        len([stage for stage in expert if "not asked" not in stage]),
        int(grandee is None),
    ]


def test_answers_kept_from_an_earlier_run_cost_nothing_now(
    dear_panel: Path, mixed: np.ndarray, scripted: Any, good: Any, poor: Any, follow: Any
) -> None:
    agents = [
        scripted("expert", at_a_price(poor, 0.25), at_a_price(follow, 0.5)),
        scripted("grandee", at_a_price(good, 0.75, cached=True)),
    ]
    with Diagnoser.open(dear_panel, agents=agents, policy__max_cost_usd=1.0, policy__second_look="always") as opened:
        (result,) = opened.diagnose_vectors(mixed[[STRANGE]], ["d"])
    assert isinstance(result, Diagnosis)
    assert list(looks_of(result)) == ["first", "second"]
    assert result.cost_usd == 0.75
    assert looks_of(result, "grandee")["first"].cost_usd == 0.75  # what it cost then


def test_what_a_panel_knows_of_second_looks_is_kept_with_it(dear_panel: Path) -> None:
    panel = Panel.open(dear_panel)
    costs = {look_name(member.agent, member.stage): member.cost_usd for member in panel.members}
    assert costs == {"neighbours": 0.0, "expert": 0.25, "grandee": 0.75, "expert, second look": 0.5}
    assert panel.second_looks.agents == ("expert",)
    assert panel.second_looks.words.shape == (1, 90, 3)
    assert panel.second_looks.labels.tolist() == panel.labelled_features().labels.tolist()
    assert list(panel.calibration_set.again) == ["expert"]
    second = next(member.trust for member in panel.members if member.stage == "second")
    right = panel.second_looks.words[0].argmax(axis=1) == panel.second_looks.labels
    assert second.accuracy == pytest.approx(right.mean())


def test_who_does_no_better_the_second_time_is_asked_only_on_demand(
    tmp_path: Path, vectors: Path, scripted: Any, good: Any, mixed: np.ndarray
) -> None:
    def worse(inputs: AgentInput, *_: Any) -> Any:
        return [Prediction("", probabilities={"apple": 0.4, "beech": 0.3, "cedar": 0.3}) for _ in range(len(inputs))]

    quick = load_settings(agents="neighbours")
    fit(vectors, tmp_path / "panel", settings=quick, group="none", agents=[scripted("expert", good, worse)])
    for wish, times in (("when-it-helps", 0), ("always", 1)):
        expert = scripted("expert", good, worse)
        with Diagnoser.open(tmp_path / "panel", agents=[expert], policy__second_look=wish) as diagnoser:
            list(diagnoser.diagnose_vectors(mixed[[STRANGE]], ["d"]))
        assert len(expert.asked_again) == times


class ColourReader:
    """Reads the image itself: which colour is strongest; hard to please at first, convinced by evidence."""

    name = "colour-reader"
    can_revise = True

    def __init__(self) -> None:
        self.sources: list[str] = []

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        answers = []
        for image in inputs.images:
            assert image is not None
            self.sources.append(image.source)
            strength = image.pixels.reshape(-1, 3).mean(axis=0)[::-1] / 128  # blue, green, red
            answers.append(self._answer(inputs, np.exp(strength)))
        return answers

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        return [self._answer(inputs, np.array([*case.distribution.values()]) + 0.01) for case in evidence]

    def _answer(self, inputs: AgentInput, scores: np.ndarray) -> Prediction:
        shares = (scores / scores.sum()).tolist()
        return Prediction(self.name, probabilities=dict(zip(inputs.task.names, shares, strict=True)))


@pytest.mark.slow
def test_an_agent_that_reads_images_is_fitted_asked_and_asked_again(
    picture_panel: Path, pictures: Path, tmp_path: Path, painted: Any
) -> None:
    reader = ColourReader()
    fit(pictures, tmp_path / "panel", settings=load_settings(agents="gaussian"), agents=[reader])
    assert sorted(reader.sources) == sorted(str(path) for path in pictures.rglob("*.png"))
    paths = [painted(tmp_path / f"{label}.png", label, 77) for label in ("blue", "green", "red")]
    reader = ColourReader()
    with Diagnoser.open(
        tmp_path / "panel", agents=[reader], policy__second_look="always", policy__max_novelty=0
    ) as diagnoser:
        results = [result for result in diagnoser.diagnose_many(paths) if isinstance(result, Diagnosis)]
    assert reader.sources == [str(path) for path in paths]
    assert [result.label for result in results] == ["blue", "green", "red"]
    for result in results:
        looks = looks_of(result, "colour-reader")
        assert looks["first"].label == looks["second"].label == result.label
        assert (looks["second"].confidence or 0) > (looks["first"].confidence or 1)


def test_a_single_image_can_be_looked_at_again_whatever_the_policy_says(
    picture_panel: Path, pictures: Path, tmp_path: Path, painted: Any
) -> None:
    fit(pictures, tmp_path / "panel", settings=load_settings(agents="gaussian"), agents=[ColourReader()])
    path = painted(tmp_path / "red.png", "red", 77)
    with Diagnoser.open(
        tmp_path / "panel", agents=[ColourReader()], policy__second_look="never", policy__max_novelty=0
    ) as diagnoser:
        usual = asyncio.run(diagnoser.adiagnose(path))
        again = asyncio.run(diagnoser.adiagnose(path, revise=True))
    assert ("second" in looks_of(usual, "colour-reader"), usual.rounds) == (False, 1)
    assert ("second" in looks_of(again, "colour-reader"), again.rounds) == (True, 2)


def test_an_agent_that_never_answered_is_left_out(vectors: Path, tmp_path: Path, scripted: Any) -> None:
    def unplugged(inputs: AgentInput) -> Any:
        raise RuntimeError("unplugged")

    report = fit(vectors, tmp_path / "panel", group="none", agents=[scripted("expert", unplugged)])
    assert "expert" not in Panel.open(tmp_path / "panel").agents
    said = "'expert' is no part of the panel, left out: it failed on each of the first images: RuntimeError: unplugged"
    assert any(said in warning for warning in report.warnings)


def test_an_agent_that_hardly_ever_answered_is_left_out(
    vectors: Path, tmp_path: Path, scripted: Any, good: Any
) -> None:
    def once(inputs: AgentInput) -> Any:
        return [*good(inputs)[:1], *[Prediction("", abstained=True)] * (len(inputs) - 1)]

    def silent(inputs: AgentInput) -> Any:
        return [Prediction("", abstained=True)] * len(inputs)

    scripts = iter([once, silent])
    expert = scripted("expert", lambda inputs: next(scripts)(inputs))
    panel = fit(vectors, tmp_path / "panel", group="none", agents=[expert]).panel
    assert "expert" not in panel.agents
    (choice,) = panel.choices
    assert "it gave a first prediction for 1 of 90 labelled images" in choice.reason


def test_an_agent_that_sometimes_fails_is_fitted_on_what_it_said(
    vectors: Path, tmp_path: Path, scripted: Any, good: Any
) -> None:
    def now_and_then(inputs: AgentInput) -> Any:
        return [Prediction("", error="busy") if row % 3 == 0 else p for row, p in enumerate(good(inputs))]

    quick = load_settings(agents="gaussian")
    report = fit(vectors, tmp_path / "panel", settings=quick, group="none", agents=[scripted("expert", now_and_then)])
    (trust,) = (member.trust for member in report.panel.members if member.agent == "expert")
    assert trust.n == 90 - len(range(0, 64, 3)) - len(range(0, 26, 3))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["gaussian"], "'gaussian' is the name of a built-in agent"),
        (["one", "one"], "each name once"),
    ],
)
def test_two_agents_of_one_name_are_refused(
    vectors: Path, tmp_path: Path, scripted: Any, good: Any, names: list[str], words: str
) -> None:
    with pytest.raises(ConsilienceError, match=words):
        fit(vectors, tmp_path / "panel", group="none", agents=[scripted(name, good) for name in names])
