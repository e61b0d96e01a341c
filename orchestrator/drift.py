"""Drift: has an agent become worse on recent images than it was when the panel was fitted?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consilience.orchestrator.history import History
from consilience.orchestrator.panel import Panel
from consilience.prediction import Stage

ALPHA = 0.05
"""The chance of a false alarm for a panel, all its agents together."""


@dataclass(frozen=True)
class AgentDrift:
    """One agent's look, as `fit` measured it and on confirmed images.

    Attributes:
        fitted: accuracy when the panel was fitted, on `fitted_images` images.
        confirmed: how many confirmed images it named a label for.
        accuracy: on these; None without any.
        since: when its accuracy most probably changed for the worse; None if nothing speaks for a change.
        recent: accuracy from then on, on `recent_images` images; low, high: its 95 % interval (Wilson).
        p_value: the chance of at least such a fall where nothing has changed, corrected for the number of agents.
        has_fallen: whether that is below ALPHA.
    """

    agent: str
    stage: Stage
    fitted: float
    fitted_images: int
    confirmed: int
    accuracy: float | None
    since: datetime | None
    recent: float | None
    recent_images: int
    low: float | None
    high: float | None
    p_value: float
    has_fallen: bool

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class Drift:
    """The looks of a panel's agents.

    Attributes:
        diagnosed, confirmed: how many diagnoses are kept, and of how many people said what is right.
        corrected: how many of the latter were wrong. People correct more readily than they confirm, so confirmed
            images are harder than others where few diagnoses are confirmed.
    """

    agents: tuple[AgentDrift, ...]
    diagnosed: int
    confirmed: int
    corrected: int

    @property
    def fallen(self) -> tuple[AgentDrift, ...]:
        return tuple(one for one in self.agents if one.has_fallen)

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError


def drift(panel: Panel, history: History, *, seed: int = 0) -> Drift:
    """Compare each agent's accuracy on confirmed images with what `fit` measured."""
    raise NotImplementedError
