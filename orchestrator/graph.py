"""The way of an image, as a LangGraph graph.

    START -> retrieve -> look (each agent, in parallel) -> weigh -> settled? -- yes --> conclude -> END
                                                             ^         | no, and a second look can help
                                                             +-- look_again (whom it can help, in parallel)

One run carries a batch of images; only the unsettled go on to further rounds. The memory is asked first and once: its
answer is what the agent 'neighbours' speaks from, it tells how novel an image is, and it is the evidence of a second
look. The state is plain data (text, numbers, lists, dicts), so it can be checkpointed, printed and replayed. The images
are not in it: agents get them from the run's context, and what weighs and concludes reads the state alone. So the
orchestrator cannot see.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import numpy as np
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from consilience.agents import Agent, Views
from consilience.agents.base import testimony_for
from consilience.agents.neighbours import K
from consilience.evidence import Evidence
from consilience.images import Image
from consilience.orchestrator.ask import first_look, second_look
from consilience.orchestrator.weighing import Request, Weighed, Weigher
from consilience.prediction import Prediction
from consilience.retrieval.memory import ImageMemory
from consilience.settings import PolicySettings


def merged(old: dict[int, Any] | None, new: dict[int, Any]) -> dict[int, Any]:
    return {**(old or {}), **new}


class State(TypedDict, total=False):
    """What the orchestrator knows. Rows number the n images of the run."""

    sources: list[str]
    identities: list[str]
    evidence: list[dict[str, Any]]  # n, as Evidence.to_dict
    neighbour_labels: list[list[int]]  # n x k, as Views
    similarities: list[list[float]]
    looks: Annotated[list[dict[str, Any]], operator.add]  # {"row": ..., "prediction": as Prediction.to_dict}
    weighed: Annotated[dict[int, Weighed], merged]  # by row, the latest round's
    requests: Annotated[list[Request], operator.add]  # for second looks, of all rounds
    rows: list[int]  # that the next round weighs: all at first, then those that are looked at again
    round: int
    conclusions: list[dict[str, Any]]  # n


class Look(TypedDict):
    """What one agent is asked: about which rows, and what the memory said of them."""

    agent: str
    rows: list[int]
    neighbour_labels: list[list[int]]
    similarities: list[list[float]]
    first: list[dict[str, Any]]  # second look only: the agent's own first predictions
    evidence: list[dict[str, Any]]  # second look only


@dataclass(frozen=True)
class Run:
    """The context of one run: what agents may look at. It is no part of the state.

    Attributes:
        images: n; None where only vectors were given.
        features: float32 (n, d).
        deadline: `time.monotonic()` at which the run's time is up.
    """

    agents: Mapping[str, Agent]
    memory: ImageMemory
    images: Sequence[Image | None]
    features: np.ndarray
    deadline: float


def build_graph(*, weigher: Weigher, policy: PolicySettings, neighbours: int) -> StateGraph[State, Run, State, State]:
    """The graph, not compiled, so that the caller sets checkpointer and cache. Its nodes are async.

    Args:
        weigher: weighs, settles and concludes.
        policy: bounds on rounds, time and cost.
        neighbours: cases in the evidence.
    """
    graph = StateGraph(State, context_schema=Run)
    left_out = weigher.asking.left_out()

    async def retrieve(state: State, runtime: Runtime[Run]) -> State:
        run = runtime.context
        found = run.memory.query(run.features, max(K, neighbours))
        return {
            "evidence": run.memory.evidence(found.first(neighbours)),
            "neighbour_labels": found.labels.tolist(),
            "similarities": found.similarities.tolist(),
            "rows": list(range(len(run.features))),
            "round": 0,
        }

    def ask_all(state: State, runtime: Runtime[Run]) -> list[Send]:
        return [Send("look", _look(state, name, state["rows"])) for name in runtime.context.agents]

    async def look(state: Look, runtime: Runtime[Run]) -> State:
        run = runtime.context
        agent, views = run.agents[state["agent"]], _views(weigher, state, run)
        if state["first"]:
            first = [Prediction.from_dict(one) for one in state["first"]]
            evidence = [Evidence.from_dict(one, run.memory.records.thumbnail) for one in state["evidence"]]
            predictions = await second_look(agent, views, first, evidence, policy.agent_timeout_seconds, run.deadline)
        elif (cause := left_out.get(agent.name)) is not None:
            predictions = [Prediction(agent.name, error=cause)] * len(views)
        else:
            predictions = await first_look(agent, views, policy.agent_timeout_seconds, run.deadline)
        return {
            "looks": [
                {"row": row, "prediction": one.to_dict()} for row, one in zip(state["rows"], predictions, strict=True)
            ]
        }

    async def weigh(state: State, runtime: Runtime[Run]) -> State:
        number = state["round"] + 1
        novelty = {row: state["evidence"][row]["novelty"] for row in state["rows"]}
        weighed = weigher.weigh(state["looks"], novelty, number)
        is_over = number >= policy.max_rounds or time.monotonic() >= runtime.context.deadline
        agents = runtime.context.agents
        requests = [] if is_over else weigher.whom_to_ask_again(state["looks"], weighed, novelty, agents)
        rows = sorted({request["row"] for request in requests})
        return {"weighed": weighed, "requests": requests, "rows": rows, "round": number}

    def ask_again(state: State, runtime: Runtime[Run]) -> list[Send] | str:
        rows: dict[str, list[int]] = {}
        for request in state["requests"]:
            if request["round"] == state["round"]:
                rows.setdefault(request["agent"], []).append(request["row"])
        agents = runtime.context.agents
        return [
            Send("look_again", _look_again(state, agents[name], asked)) for name, asked in rows.items()
        ] or "conclude"

    async def conclude(state: State) -> State:
        return {"conclusions": weigher.conclude(state["looks"], state["weighed"], state["evidence"], state["requests"])}

    graph.add_node("retrieve", retrieve)
    graph.add_node("look", look, input_schema=Look)
    graph.add_node("weigh", weigh)
    graph.add_node("look_again", look, input_schema=Look)
    graph.add_node("conclude", conclude)
    graph.add_edge(START, "retrieve")
    graph.add_conditional_edges("retrieve", ask_all, ["look"])
    graph.add_edge("look", "weigh")
    graph.add_conditional_edges("weigh", ask_again, ["look_again", "conclude"])
    graph.add_edge("look_again", "weigh")
    graph.add_edge("conclude", END)
    return graph


def first_state(sources: Sequence[str], identities: Sequence[str]) -> State:
    """The state that a run begins with."""
    return {"sources": list(sources), "identities": list(identities), "looks": [], "weighed": {}, "requests": []}


def bounded(policy: PolicySettings) -> RunnableConfig:
    """The configuration of a run: steps enough for the rounds that the policy allows, and hardly more."""
    return {"recursion_limit": 4 + 2 * policy.max_rounds}


def _look(state: State, agent: str, rows: Sequence[int]) -> Look:
    return {
        "agent": agent,
        "rows": list(rows),
        "neighbour_labels": [state["neighbour_labels"][row] for row in rows],
        "similarities": [state["similarities"][row] for row in rows],
        "first": [],
        "evidence": [],
    }


def _look_again(state: State, agent: Agent, rows: Sequence[int]) -> Look:
    said: dict[int, list[dict[str, Any]]] = {row: [] for row in rows}
    for look in state["looks"]:
        if look["row"] in said:
            said[look["row"]].append(look["prediction"])
    look_of = _look(state, agent.name, rows)
    for row, predictions in said.items():
        testimony = testimony_for(agent, map(Prediction.from_dict, predictions))
        look_of["first"] += [one for one in predictions if one["agent"] == agent.name]
        look_of["evidence"].append({**state["evidence"][row], "testimony": [one.to_dict() for one in testimony]})
    return look_of


def _views(weigher: Weigher, request: Look, run: Run) -> Views:
    rows = request["rows"]
    return Views(
        weigher.task,
        [run.images[row] for row in rows],
        run.features[rows],
        np.array(request["neighbour_labels"], dtype=np.intp),
        np.array(request["similarities"], dtype=np.float32),
    )
