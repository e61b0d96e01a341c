"""The way of an image, as a LangGraph graph.

    START -> retrieve -> predict (each agent, in parallel) -> weigh -> settled? -- yes --> conclude -> END
                                                             ^         | no, and a second look can help
                                                             +-- revise (whom it can help, in parallel)

A reasoner that advises or decides adds a node `reason` behind `weigh`; one that explains is asked in `conclude`.

One run carries a batch of images; only the unsettled go on to further rounds. The memory is asked first and once: its
answer is what the agent 'neighbours' speaks from, it tells how novel an image is, and it is the evidence of a second
look. The state is plain data (text, numbers, lists, dicts), so it can be checkpointed, printed and replayed. The images
are not in it: agents get them from the run's context, and what weighs, reasons and concludes reads the state alone. So
the orchestrator cannot see.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from consilience.agents import Agent, AgentInput
from consilience.agents.base import testimony_for
from consilience.agents.heads.neighbours import K
from consilience.core.evidence import Evidence
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.decision.run_state import AgentRequest, ReasonerUpdate, State
from consilience.orchestrator.decision.weighing import Weighed, Weigher
from consilience.orchestrator.novelty.reference import NoveltyReference, by_image
from consilience.orchestrator.reasoner.reasoner import Reasoner
from consilience.orchestrator.reasoner.step import ReasonerStep
from consilience.orchestrator.runtime.calls import first_look, second_look
from consilience.retrieval.memory.image_memory import ImageMemory


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


def build_graph(
    *,
    weigher: Weigher,
    policy: PolicySettings,
    neighbours: int,
    reasoner: Reasoner | None = None,
    known: NoveltyReference | None = None,
) -> StateGraph[State, Run, State, State]:
    """Return the graph, not compiled, so that the caller sets checkpointer and cache. Its nodes are async.

    Args:
        weigher: weighs, settles and concludes.
        policy: bounds on rounds, time and cost.
        neighbours: cases in the evidence.
        reasoner: reads the record, in the role that its settings give it; None: rules alone.
        known: what is known of the labelled images' vectors, for signs of novelty.
    """
    reasoning = ReasonerStep(weigher, reasoner)
    nodes = _Nodes(weigher, policy, neighbours, reasoning, weigher.asking.left_out(), known)
    graph = StateGraph(State, context_schema=Run)
    graph.add_node("retrieve", nodes.retrieve)
    graph.add_node("predict", nodes.predict, input_schema=AgentRequest)
    graph.add_node("weigh", nodes.weigh)
    graph.add_node("revise", nodes.predict, input_schema=AgentRequest)
    graph.add_node("conclude", nodes.conclude)
    graph.add_edge(START, "retrieve")
    graph.add_conditional_edges("retrieve", nodes.ask_all, ["predict"])
    graph.add_edge("predict", "weigh")
    graph.add_edge("revise", "weigh")
    graph.add_edge("conclude", END)
    if reasoning.is_due(1):
        graph.add_node("reason", nodes.reason)
        graph.add_conditional_edges("weigh", nodes.ask_reasoner, ["reason", "revise", "conclude"])
        graph.add_conditional_edges("reason", nodes.ask_again, ["revise", "conclude"])
    else:
        graph.add_conditional_edges("weigh", nodes.ask_again, ["revise", "conclude"])
    return graph


@dataclass(frozen=True)
class _Nodes:
    """What the nodes do, and where they lead; `left_out`: by agent, why no first look of it is paid for.

    What leads is async as they are: LangGraph would call a plain function in a thread, twice a run.
    """

    weigher: Weigher
    policy: PolicySettings
    neighbours: int
    reasoning: ReasonerStep
    left_out: Mapping[str, str]
    known: NoveltyReference | None

    async def retrieve(self, state: State, runtime: Runtime[Run]) -> State:
        run = runtime.context
        neighbours = run.memory.query(run.features, max(K, self.neighbours))
        nearest = neighbours.first(self.neighbours)
        return {
            "evidence": run.memory.evidence(nearest),
            "neighbour_labels": neighbours.labels.tolist(),
            "similarities": neighbours.similarities.tolist(),
            "distance_ranks": run.memory.distance_ranks(nearest).tolist() if self.known is None else [],
            "far": [] if self.known is None else by_image(self.known.signs(run.features)),
            "rows": list(range(len(run.features))),
            "round": 0,
        }

    async def ask_all(self, state: State, runtime: Runtime[Run]) -> list[Send]:
        return [Send("predict", _look(state, name, state["rows"])) for name in runtime.context.agents]

    async def predict(self, state: AgentRequest, runtime: Runtime[Run]) -> State:
        run, seconds = runtime.context, self.policy.agent_timeout_seconds
        agent, inputs = run.agents[state["agent"]], _inputs(self.weigher, state, run)
        if state["first"]:
            first = [Prediction.from_dict(data) for data in state["first"]]
            evidence = [Evidence.from_dict(data, run.memory.labelled_images.thumbnail) for data in state["evidence"]]
            predictions = await second_look(agent, inputs, first, evidence, seconds, run.deadline)
        elif (cause := self.left_out.get(agent.name)) is not None:
            predictions = [Prediction(agent.name, error=cause)] * len(inputs)
        else:
            predictions = await first_look(agent, inputs, seconds, run.deadline)
        return {
            "looks": [
                {"row": row, "prediction": prediction.to_dict()}
                for row, prediction in zip(state["rows"], predictions, strict=True)
            ]
        }

    async def weigh(self, state: State, runtime: Runtime[Run]) -> State:
        number = state["round"] + 1
        unjudgeable = {row: state["unjudgeable"][row] for row in state["rows"]}
        weighed = self.weigher.weigh(
            state["looks"], told_of(state), number, state["weighed"], far_of(state), unjudgeable
        )
        if self.reasoning.is_due(number):
            return {"weighed": weighed, "round": number}
        return {"weighed": weighed, "round": number, **self._next(state, number, weighed, [], runtime.context)}

    async def reason(self, state: State, runtime: Runtime[Run]) -> State:
        run = runtime.context
        readings = await self.reasoning.read(state, run.agents, run.deadline)
        looks, weighed = self.reasoning.adopted(state, readings)
        following = self._next(state, state["round"], weighed, readings, run)
        return {"readings": readings, "looks": looks, "weighed": weighed, **following}

    def _next(
        self, state: State, number: int, weighed: Mapping[int, Weighed], readings: Sequence[ReasonerUpdate], run: Run
    ) -> State:
        """Whom to ask again after round `number`, and so what the next round weighs."""
        if number >= self.policy.max_rounds or time.monotonic() >= run.deadline:
            return {"requests": [], "rows": []}
        wishes = {reading["row"]: reading["ask_again"] for reading in readings}
        requests = self.weigher.whom_to_ask_again([*state["looks"], *readings], weighed, run.agents, wishes)
        return {"requests": requests, "rows": sorted({request["row"] for request in requests})}

    async def ask_reasoner(self, state: State, runtime: Runtime[Run]) -> list[Send] | str:
        return "reason" if self.reasoning.is_due(state["round"]) else await self.ask_again(state, runtime)

    async def ask_again(self, state: State, runtime: Runtime[Run]) -> list[Send] | str:
        rows: dict[str, list[int]] = {}
        for request in state["requests"]:
            if request["round"] == state["round"]:
                rows.setdefault(request["agent"], []).append(request["row"])
        agents = runtime.context.agents
        return [
            Send("revise", _revision_request(state, agents[name], asked)) for name, asked in rows.items()
        ] or "conclude"

    async def conclude(self, state: State, runtime: Runtime[Run]) -> State:
        run = runtime.context
        conclusions = await self.reasoning.conclude(state, run.agents, run.deadline)
        return {"conclusions": [conclusion.to_dict() for conclusion in conclusions]}


def first_state(sources: Sequence[str], identities: Sequence[str], unjudgeable: Sequence[str] = ()) -> State:
    """Return the state that a run of n images begins with.

    Args:
        sources, identities: of the images.
        unjudgeable: why each cannot be judged, empty for one that can; none: all can.
    """
    return {
        "sources": list(sources),
        "identities": list(identities),
        "unjudgeable": list(unjudgeable) or [""] * len(sources),
        "looks": [],
        "weighed": {},
        "requests": [],
        "readings": [],
    }


def bounded(policy: PolicySettings) -> RunnableConfig:
    """Return the configuration of a run: steps enough for the rounds that the policy allows, and hardly more."""
    return {"recursion_limit": 4 + 3 * policy.max_rounds}


def told_of(state: State) -> dict[int, float]:
    """Return by row how far from the memory's images those are that are weighed in this round; 1 where signs tell."""
    return {row: state["distance_ranks"][row] if state["distance_ranks"] else 1.0 for row in state["rows"]}


def far_of(state: State) -> dict[int, dict[str, float]]:
    """Return by row the signs of novelty in the vectors of these images; empty where the panel knows none."""
    return {row: state["far"][row] for row in state["rows"]} if state.get("far") else {}


def _look(state: State, agent: str, rows: Sequence[int]) -> AgentRequest:
    return {
        "agent": agent,
        "rows": list(rows),
        "neighbour_labels": [state["neighbour_labels"][row] for row in rows],
        "similarities": [state["similarities"][row] for row in rows],
        "first": [],
        "evidence": [],
    }


def _revision_request(state: State, agent: Agent, rows: Sequence[int]) -> AgentRequest:
    by_row: dict[int, list[dict[str, Any]]] = {row: [] for row in rows}
    for look in state["looks"]:
        if look["row"] in by_row and look["prediction"]["agent"] != REASONER:
            by_row[look["row"]].append(look["prediction"])
    look_of = _look(state, agent.name, rows)
    for row, predictions in by_row.items():
        testimony = testimony_for(agent, map(Prediction.from_dict, predictions))
        look_of["first"] += [prediction for prediction in predictions if prediction["agent"] == agent.name]
        look_of["evidence"].append(
            {**state["evidence"][row], "testimony": [prediction.to_dict() for prediction in testimony]}
        )
    return look_of


def _inputs(weigher: Weigher, request: AgentRequest, run: Run) -> AgentInput:
    rows = request["rows"]
    return AgentInput(
        weigher.task,
        [run.images[row] for row in rows],
        run.features[rows],
        np.array(request["neighbour_labels"], dtype=np.intp),
        np.array(request["similarities"], dtype=np.float32),
    )
