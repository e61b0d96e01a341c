"""The orchestrator cannot see: what its graph passes on is plain data, which a checkpointer keeps and gives back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from consilience import Diagnoser, Diagnosis, Prediction, load_settings
from consilience.agents import AgentInput
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.threshold import choose_threshold
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.graph import Run, build_graph, first_state


@pytest.fixture
def diagnoser(expert_panel: Path, scripted: Any, poor: Any, follow: Any) -> Iterator[Diagnoser]:
    agents = [scripted("expert", poor, follow)]
    with Diagnoser.open(expert_panel, agents=agents, policy__second_look="always") as opened:
        yield opened


def leaves(value: Any, path: str = "state") -> Iterator[tuple[str, Any]]:
    if type(value) is dict:
        for key, entry in value.items():
            yield f"{path}: a key", key
            yield from leaves(entry, f"{path}[{key!r}]")
    elif type(value) is list:
        for number, entry in enumerate(value):
            yield from leaves(entry, f"{path}[{number}]")
    else:
        yield path, value


def run_with(diagnoser: Diagnoser, vectors: np.ndarray, saver: InMemorySaver) -> list[dict[str, Any]]:
    """Run the diagnoser's own parts as a graph with a checkpointer; all the states that it kept."""
    panel, settings = diagnoser.panel, diagnoser.settings
    policy = Policy(
        settings.policy, choose_threshold(panel.calibration_set, settings.policy.target, settings.policy.delta)
    )
    weigher = Weigher(panel.task, panel.members, panel.fusion, policy)
    graph = build_graph(weigher=weigher, policy=settings.policy, neighbours=5).compile(checkpointer=saver)
    names = [f"{number}" for number in range(len(vectors))]
    run = Run(diagnoser.graph.agents, diagnoser.memory, [None] * len(vectors), vectors, time.monotonic() + 60)
    config: Any = {"configurable": {"thread_id": "1"}}
    start: Any = first_state(names, names)
    asyncio.run(graph.ainvoke(start, config, context=run))
    return [snapshot.values for snapshot in graph.get_state_history(config)]


def test_the_state_is_plain_data_of_every_step(diagnoser: Diagnoser, blobs: Any) -> None:
    strange = np.eye(8, dtype=np.float32)[[7]]  # far from all that is known: it is looked at again
    vectors = np.concatenate([blobs.drawn(3, 1, 0.1)[0], strange])
    states = run_with(diagnoser, vectors, InMemorySaver())
    assert len(states[0]["conclusions"]) == 4
    assert any(look["prediction"]["stage"] == "second" for look in states[0]["looks"])
    for state in states:
        wrong = {
            path: type(value) for path, value in leaves(state) if type(value) not in (str, int, float, bool, type(None))
        }
        assert wrong == {}
        json.dumps(state, allow_nan=False)


def test_where_to_go_is_told_in_the_loop_and_no_thread_is_started_for_it(
    diagnoser: Diagnoser, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("LangGraph calls what is not async in an executor")

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", refused)
    assert len(list(diagnoser.diagnose_vectors(blobs.drawn(1, 1, 0.1)[0], ["blob"]))) == 1


def test_no_vector_and_no_pixel_is_in_the_state(diagnoser: Diagnoser, blobs: Any) -> None:
    vectors = blobs.drawn(4, 3)[0]
    states = run_with(diagnoser, vectors, InMemorySaver())
    numbers = {round(value, 6) for path, value in leaves(states[0]) if type(value) is float}
    assert not numbers & {round(float(value), 6) for value in vectors.ravel()}


def test_a_checkpoint_gives_back_the_same_state(diagnoser: Diagnoser, blobs: Any) -> None:
    state, *_ = run_with(diagnoser, blobs.drawn(4, 3)[0], InMemorySaver())
    serializer = JsonPlusSerializer(pickle_fallback=False)
    kind, data = serializer.dumps_typed(state)
    assert kind == "msgpack"
    assert serializer.loads_typed((kind, data)) == state


@pytest.mark.parametrize(
    "fields", [{"confidence": np.float32(0.5)}, {"cost_usd": np.float32(0.25)}, {"raw": np.zeros((2, 2, 3))}]
)
def test_what_an_agent_says_besides_is_made_plain_or_refused(
    expert_panel: Path, scripted: Any, good: Any, blobs: Any, fields: dict[str, Any]
) -> None:
    def look(inputs: AgentInput) -> list[Prediction]:
        return [replace(p, **fields) for p in good(inputs)]

    with Diagnoser.open(expert_panel, agents=[scripted("expert", look)]) as opened:
        (result,) = opened.diagnose_vectors(blobs.between(0, 1, 0.1), ["a"])
    assert isinstance(result, Diagnosis)
    json.loads(result.to_json())


def test_the_graph_shows_the_way_of_an_image(diagnoser: Diagnoser) -> None:
    drawing = diagnoser.graph.compiled.get_graph()
    edges = {(edge.source, edge.target) for edge in drawing.edges}
    assert edges == {
        ("__start__", "retrieve"),
        ("retrieve", "predict"),
        ("predict", "weigh"),
        ("weigh", "conclude"),
        ("weigh", "revise"),
        ("revise", "weigh"),
        ("conclude", "__end__"),
    }
    assert "revise" in drawing.draw_mermaid()


def test_the_memory_is_asked_for_the_neighbours_that_are_set(
    expert_panel: Path, scripted: Any, poor: Any, blobs: Any
) -> None:
    settings = load_settings(memory__neighbours=3)
    with Diagnoser.open(expert_panel, settings=settings, agents=[scripted("expert", poor)]) as opened:
        (result,) = opened.diagnose_vectors(blobs.between(0, 1, 0.1), ["a"])
        assert isinstance(result, Diagnosis)
        exact = opened.panel.labelled_images.vectors @ blobs.between(0, 1, 0.1)[0]
    nearest = np.sort(exact)[::-1][:3]
    assert [neighbour.similarity for neighbour in result.evidence.neighbours] == pytest.approx(
        nearest.tolist(), abs=1e-6
    )
    assert sum(result.evidence.distribution.values()) == pytest.approx(1)
