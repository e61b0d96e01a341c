"""Whatever an agent does, it is recorded as its failure with the cause, and the diagnosis goes on without it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, FailedImage, Prediction
from consilience.agents import AgentInput
from consilience.core.errors import AgentError, AllAgentsFailedError, BudgetSpentError
from consilience.orchestrator.runtime.calls import run_sync

Diagnose = Callable[..., list[Diagnosis | FailedImage]]


@dataclass
class Awaited:
    """An async agent that does as it is told."""

    name: str
    script: Callable[[AgentInput], Any]
    again: Callable[..., Any] | None = None

    @property
    def can_revise(self) -> bool:
        return self.again is not None

    async def predict(self, inputs: AgentInput) -> Any:
        return await self.script(inputs)

    async def revise(self, inputs: AgentInput, first: Any, evidence: Any) -> Any:
        assert self.again is not None
        return await self.again(inputs, first, evidence)


@pytest.fixture
def diagnose(expert_panel: Path, scripted: Any, blobs: Any) -> Diagnose:
    """Diagnose six vectors with an 'expert' that does as `script` says."""

    def run(script: Any, again: Any = None, **settings: Any) -> list[Diagnosis | FailedImage]:
        kind = Awaited if inspect.iscoroutinefunction(script) else scripted
        agents = [kind("expert", script, again)]
        with Diagnoser.open(expert_panel, agents=agents, policy__second_look="never", **settings) as diagnoser:
            return list(diagnoser.diagnose_vectors(blobs.drawn(6, 1, 0.1)[0], list("abcdef")))

    return run


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event to hang on, set at the end so that nobody hangs for good."""
    event = threading.Event()
    yield event
    event.set()


def expert_of(diagnosis: Diagnosis | FailedImage) -> Prediction:
    assert isinstance(diagnosis, Diagnosis)
    (expert,) = (p for p in diagnosis.predictions if p.agent == "expert")
    return expert


def raising(error: BaseException) -> Callable[[AgentInput], Any]:
    def look(inputs: AgentInput) -> Any:
        raise error

    return look


def uniform(inputs: AgentInput, n: int | None = None, names: tuple[str, ...] | None = None) -> list[Prediction]:
    names = names or inputs.task.names
    return [Prediction("", probabilities=dict.fromkeys(names, 1 / len(names))) for _ in range(n or len(inputs))]


FAILURES: dict[str, tuple[Callable[[AgentInput], Any], str]] = {
    "raises": (raising(RuntimeError("out of memory")), "RuntimeError: out of memory"),
    "times out by itself": (
        raising(TimeoutError("the model did not answer")),
        "TimeoutError: the model did not answer",
    ),
    "runs out of answers": (raising(StopIteration()), "RuntimeError: coroutine raised StopIteration"),
    "leaves": (raising(SystemExit(3)), "SystemExit: 3"),
    "raises what a terminal obeys": (raising(OSError("gone\n\x1b[31mred \u202efdp")), "OSError: gone [31mred fdp"),
    "too few": (lambda inputs: [], "ValueError: 0 predictions for 6 images"),
    "too many": (lambda inputs: uniform(inputs, 7), "ValueError: 7 predictions for 6 images"),
    "nothing": (lambda inputs: None, "TypeError: 'NoneType' object is not iterable"),
    "something else": (
        lambda inputs: ["apple"] * len(inputs),
        "AttributeError: 'str' object has no attribute 'probabilities'",
    ),
    "other labels": (
        lambda inputs: uniform(inputs, names=("ash", "elm", "fir")),
        "ValueError: probabilities for the labels ['ash', 'elm', 'fir'], the task has ['apple', 'beech', 'cedar']",
    ),
    "fewer labels": (
        lambda inputs: uniform(inputs, names=("apple", "beech")),
        "ValueError: probabilities for the labels ['apple', 'beech']",
    ),
    "NaN": (
        lambda inputs: [Prediction("", probabilities=dict.fromkeys(inputs.task.names, np.nan))] * len(inputs),
        "ValueError: : the probability of 'apple' is nan",
    ),
    "no distribution": (
        lambda inputs: [Prediction("", probabilities=dict.fromkeys(inputs.task.names, 0.9))] * len(inputs),
        "ValueError: : the probabilities sum to 2.7",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_failure_is_recorded_with_its_cause_and_the_others_go_on(
    diagnose: Diagnose, case: str, is_async: bool
) -> None:
    script, cause = FAILURES[case]

    async def awaited(inputs: AgentInput) -> Any:
        return script(inputs)

    results = diagnose(awaited if is_async else script)
    assert len(results) == 6
    for result in results:
        expert = expert_of(result)
        assert expert.error is not None
        # an async agent is asked about one image at a time
        assert expert.error.startswith(cause.replace("for 6 images", "for 1 images") if is_async else cause)
        assert (expert.probabilities, expert.calibrated, expert.weight) == (None, None, 0.0)
        assert isinstance(result, Diagnosis)
        others = [p for p in result.predictions if p.agent != "expert"]
        assert all(p.error is None and p.calibrated for p in others)
        assert "Failed and not counted: expert." in result.rationale
    assert [result.label for result in results if isinstance(result, Diagnosis)] == ["apple", "beech", "cedar"] * 2


def test_a_hanging_agent_is_left_behind(diagnose: Diagnose, never: threading.Event) -> None:
    results = diagnose(lambda inputs: never.wait(), policy__agent_timeout_seconds=0.05)
    assert {expert_of(result).error for result in results} == {"no answer within 0.3 seconds"}  # 0.05 for each of six


def test_a_hanging_async_agent_is_left_behind(diagnose: Diagnose) -> None:
    async def forever(inputs: AgentInput) -> Any:
        await asyncio.Event().wait()

    results = diagnose(forever, policy__agent_timeout_seconds=0.05)
    assert {expert_of(result).error for result in results} == {"no answer within 0.3 seconds"}


def test_the_time_of_a_run_bounds_that_of_its_agents(diagnose: Diagnose) -> None:
    async def forever(inputs: AgentInput) -> Any:
        await asyncio.Event().wait()

    (cause,) = {expert_of(result).error for result in diagnose(forever, policy__max_seconds=0.05)}
    assert cause is not None
    assert float(cause.removeprefix("no answer within ").removesuffix(" seconds")) < 0.05


def test_an_async_agent_is_asked_about_each_image_by_itself(diagnose: Diagnose, good: Any) -> None:
    """One image hangs, one raises, one gets a wrong answer; and the others count."""
    asked, all_asked = [], asyncio.Event()

    async def look(inputs: AgentInput) -> Any:
        asked.append(len(inputs))
        if len(asked) == 6:
            all_asked.set()
        await all_asked.wait()  # passes only if all are asked at once
        (label,) = (prediction.label for prediction in good(inputs))
        if label == "beech" and "hung" not in done:
            done.add("hung")
            await asyncio.Event().wait()
        if label == "beech":
            raise RuntimeError("out of memory")
        if label == "apple" and "wrong" not in done:
            done.add("wrong")
            return []
        return good(inputs)

    done: set[str] = set()
    results = diagnose(look, policy__agent_timeout_seconds=0.1)
    assert asked == [1] * 6
    experts = [expert_of(result) for result in results]
    assert sorted(p.error for p in experts if p.error) == [
        "RuntimeError: out of memory",
        "ValueError: 0 predictions for 1 images",
        "no answer within 0.6 seconds",
    ]
    assert [p.label for p in experts if p.error is None] == ["cedar", "apple", "cedar"]


def test_a_plain_agent_is_asked_about_a_batch_at_a_time(diagnose: Diagnose, good: Any) -> None:
    asked = []

    def look(inputs: AgentInput) -> Any:
        asked.append(len(inputs))
        return good(inputs)

    diagnose(look)
    assert asked == [6]


def test_a_second_look_at_one_image_has_that_images_first_look_and_evidence(
    expert_panel: Path, good: Any, blobs: Any
) -> None:
    seen = []

    async def again(inputs: AgentInput, first: Any, evidence: Any) -> Any:
        seen.append((first[0].label, evidence[0].neighbours[0].label, len(inputs), len(first), len(evidence)))
        return good(inputs)

    async def look(inputs: AgentInput) -> Any:
        return good(inputs)

    agents = [Awaited("expert", look, again)]
    with Diagnoser.open(expert_panel, agents=agents, policy__second_look="always", policy__coverage=1.0) as diagnoser:
        list(diagnoser.diagnose_vectors(blobs.drawn(3, 1, 0.1)[0], list("abc")))
    assert sorted(seen) == [(label, label, 1, 1, 1) for label in ("apple", "beech", "cedar")]


def test_an_agent_that_may_spend_no_more_ends_the_run(diagnose: Diagnose, good: Any) -> None:
    answered: list[int] = []

    async def look(inputs: AgentInput) -> Any:
        if good(inputs)[0].label == "beech":
            raise BudgetSpentError("spent")
        await asyncio.to_thread(answered.append, 1)
        return good(inputs)

    with pytest.raises(BudgetSpentError, match=r"^spent"):
        diagnose(look)
    assert len(answered) == 4  # those that were under way were waited for

    def plain(inputs: AgentInput) -> Any:
        raise BudgetSpentError("spent")

    with pytest.raises(BudgetSpentError, match=r"^spent"):
        diagnose(plain)


def test_what_answers_too_late_changes_nothing(diagnose: Diagnose, never: threading.Event) -> None:
    answered = threading.Event()

    def late(inputs: AgentInput) -> Any:
        never.wait()
        answered.set()
        return uniform(inputs)

    results = diagnose(late, policy__agent_timeout_seconds=0.05)
    never.set()
    assert answered.wait(10)
    assert all(expert_of(result).error for result in results)


def test_an_abstention_is_no_failure_and_no_vote(diagnose: Diagnose) -> None:
    def look(inputs: AgentInput) -> list[Prediction]:
        return [Prediction("", abstained=True, rationale="too dark")] * 2 + uniform(inputs, 4)

    results = diagnose(look)
    assert [expert_of(result).abstained for result in results] == [True, True, False, False, False, False]
    assert expert_of(results[0]).weight == 0.0
    assert expert_of(results[2]).calibrated is not None
    assert isinstance(results[0], Diagnosis)
    assert "Abstained: expert." in results[0].rationale


def test_an_async_function_behind_a_plain_one_is_awaited(diagnose: Diagnose, good: Any) -> None:
    async def awaited(inputs: AgentInput) -> Any:
        return good(inputs)

    results = diagnose(lambda inputs: awaited(inputs))
    assert all(expert_of(result).error is None for result in results)


@pytest.fixture
def lone_panel(tmp_path: Path, vectors: Path, scripted: Any, good: Any) -> Path:
    """A panel in which every feature agent was taken out, so that 'one' and 'two' are all there are."""
    from dataclasses import replace

    from consilience import fit
    from consilience.orchestrator.panel.panel import Panel

    fit(vectors, tmp_path / "panel", agents=[scripted("one", good), scripted("two", good)])
    whole = Panel.open(tmp_path / "panel")
    kept = [number for number, member in enumerate(whole.members) if member.agent in ("one", "two")]
    sources = whole.fusion.sources
    assert sources is not None
    covariance = sources.covariance[np.ix_(kept, kept)]
    left = replace(sources, of_look=sources.of_look[kept], covariance=covariance)
    fusion = replace(whole.fusion, base=whole.fusion.base[kept], sources=left, silence=None)
    members = tuple(whole.members[number] for number in kept)
    replace(whole, heads=(), agents=("one", "two"), members=members, fusion=fusion).save(whole.path, overwrite=True)
    return whole.path


def test_an_agent_speaks_under_its_own_name_and_pays_for_itself(
    lone_panel: Path, scripted: Any, good: Any, blobs: Any
) -> None:
    def impostor(inputs: AgentInput) -> list[Prediction]:
        return [
            Prediction("two", "second", p.probabilities, cost_usd=0.25, tokens=7, seconds=2.5, raw="{}")
            for p in good(inputs)
        ]

    with Diagnoser.open(lone_panel, agents=[scripted("one", impostor), scripted("two", good)]) as diagnoser:
        (result,) = diagnoser.diagnose_vectors(blobs.between(0, 1, 0.1), ["a"])
    assert isinstance(result, Diagnosis)
    first, two = result.predictions
    assert (first.agent, first.stage, first.cost_usd, first.tokens, first.seconds, first.raw) == (
        "one",
        "first",
        0.25,
        7,
        2.5,
        "{}",
    )
    assert (two.agent, two.cost_usd, result.cost_usd) == ("two", 0.0, 0.25)
    assert first.weight
    assert first.weight == pytest.approx(two.weight)


def test_if_all_failed_the_error_names_each_and_other_images_go_on(
    lone_panel: Path, scripted: Any, good: Any, blobs: Any
) -> None:
    def fails_on_beech(error: str) -> Callable[[AgentInput], list[Prediction]]:
        def look(inputs: AgentInput) -> list[Prediction]:
            return [Prediction("", error=error) if p.label == "beech" else p for p in good(inputs)]

        return look

    agents = [scripted("one", fails_on_beech("overheated")), scripted("two", fails_on_beech("unplugged"))]
    with Diagnoser.open(lone_panel, agents=agents) as diagnoser:
        vectors, _ = blobs.drawn(6, 1)
        results = list(diagnoser.diagnose_vectors(vectors, list("abcdef")))
    assert [isinstance(result, FailedImage) for result in results] == [False, True, False, False, True, False]
    failed = results[1]
    assert isinstance(failed, FailedImage)
    assert failed.source == "b"
    assert isinstance(failed.error, AllAgentsFailedError)
    assert str(failed.error) == "no agent could look at 'b': one: overheated; two: unplugged"


def test_agents_look_all_at_once(lone_panel: Path, scripted: Any, good: Any, blobs: Any) -> None:
    together = threading.Barrier(2)

    def look(inputs: AgentInput) -> Any:
        together.wait(10)  # passes only while the other one is looking, too
        return good(inputs)

    with Diagnoser.open(lone_panel, agents=[scripted("one", look), scripted("two", look)]) as diagnoser:
        (result,) = diagnoser.diagnose_vectors(blobs.between(0, 1, 0.1), ["a"])
    assert isinstance(result, Diagnosis)
    assert [p.error for p in result.predictions] == [None, None]


def test_agents_that_the_panel_lacks_or_does_not_know_are_named(
    expert_panel: Path, panel: Path, scripted: Any, good: Any
) -> None:
    with pytest.raises(AgentError, match=r"does not hold: expert; give them as Diagnoser.open\(panel, agents="):
        Diagnoser.open(expert_panel)
    with pytest.raises(AgentError, match="no trust in stranger"):
        Diagnoser.open(panel, agents=[scripted("stranger", good)])


def test_work_is_finished_where_an_event_loop_runs_already_and_where_none_does() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    async def notebook() -> str:
        return run_sync(work())

    assert (run_sync(work()), asyncio.run(notebook())) == ("done", "done")
