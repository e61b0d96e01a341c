"""The state of a run: plain data that can be checkpointed, printed and replayed. No pixels are in it."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from consilience.orchestrator.decision.weighing import LookRequest, Weighed


def merged(old: dict[int, Any] | None, new: dict[int, Any]) -> dict[int, Any]:
    """Return the old entries, replaced by new ones of the same row."""
    return {**(old or {}), **new}


class ReasonerUpdate(TypedDict):
    """A reasoner's result for one row, as plain data."""

    row: int
    prediction: dict[str, Any]
    ask_again: dict[str, str]


class State(TypedDict, total=False):
    """The state of a run of n images, which its rows number."""

    sources: list[str]
    identities: list[str]
    evidence: list[dict[str, Any]]  # n, as Evidence.to_dict
    neighbour_labels: list[list[int]]  # n x k, as AgentInput
    similarities: list[list[float]]
    distance_ranks: list[float]  # n, `ImageMemory.distance_ranks`: the novelty; empty where the panel knows signs of it
    far: list[dict[str, float]]  # n, signs of novelty in the images' vectors; empty where the panel knows none
    unjudgeable: list[str]  # n, why an image cannot be judged; empty if it can
    looks: Annotated[list[dict[str, Any]], operator.add]  # {"row": ..., "prediction": as Prediction.to_dict}
    weighed: Annotated[dict[int, Weighed], merged]  # by row, the latest round's
    requests: Annotated[list[LookRequest], operator.add]  # for second looks, of all rounds
    rows: list[int]  # that the next round weighs: all at first, then those that are looked at again
    round: int
    readings: Annotated[list[ReasonerUpdate], operator.add]  # by a reasoner, of all rounds
    conclusions: list[dict[str, Any]]  # n, as Conclusion.to_dict


class AgentRequest(TypedDict):
    """What one agent is asked: about which rows, and what the memory said of them."""

    agent: str
    rows: list[int]
    neighbour_labels: list[list[int]]
    similarities: list[list[float]]
    first: list[dict[str, Any]]  # second look only: the agent's own first predictions
    evidence: list[dict[str, Any]]  # second look only
