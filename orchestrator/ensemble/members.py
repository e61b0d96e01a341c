"""The members of a panel: its agents, each with what it has earned."""

from __future__ import annotations

from dataclasses import dataclass

from consilience.core.prediction import Stage
from consilience.core.trust import Trust
from consilience.orchestrator.ensemble.scaling import Calibrator


@dataclass(frozen=True)
class Member:
    """One look of one agent, as the orchestrator weighs it; `cost_usd` and `seconds` are what it takes on average."""

    agent: str
    stage: Stage
    calibrator: Calibrator
    trust: Trust
    cost_usd: float = 0.0
    seconds: float = 0.0


LEFT_OUT = "left out"
"""How the reason begins for which an agent that was asked for is no member."""


@dataclass(frozen=True)
class AgentChoice:
    """Whether an agent was kept when agents were chosen, and why."""

    agent: str
    kept: bool
    reason: str
