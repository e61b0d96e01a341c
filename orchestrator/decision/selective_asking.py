"""Whom to ask for a look at an image: what it may cost, and whether a second look is worth it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from consilience.core.prediction import Prediction, Stage
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.second_look import Gain, ValueOfInformation


def spent(predictions: Iterable[Prediction]) -> float:
    """Return what answers cost, in US dollars; those kept from an earlier run cost nothing."""
    return math.fsum(prediction.cost_usd for prediction in predictions if not prediction.cached)


def affordable(costs: Mapping[str, float], budget: float | None) -> list[str]:
    """Return whom a budget pays for, the cheapest first; those who cost nothing always.

    >>> affordable({"gpt": 0.02, "qwen": 0.01, "probe": 0.0}, 0.025)
    ['probe', 'qwen']
    """
    names, total = sorted(costs, key=costs.__getitem__), 0.0
    chosen = []
    for name in names:
        total += costs[name]
        if costs[name] == 0.0 or budget is None or total <= budget * (1 + 1e-9):  # sums are rounded
            chosen.append(name)
    return chosen


@dataclass(frozen=True)
class Asking:
    """Decides whom to ask, from figures alone.

    Attributes:
        settings: bounds, and what a better diagnosis is worth.
        costs: by agent, what a look costs, as expected, in US dollars; by stage.
        foresight: what a second look gains.
    """

    settings: PolicySettings
    costs: Mapping[Stage, Mapping[str, float]]
    foresight: ValueOfInformation

    def left_out(self) -> dict[str, str]:
        """Return whom the budget of a diagnosis leaves out of its first looks, and why."""
        costs, budget = self.costs["first"], self.settings.max_cost_usd
        bound = f"policy.max_cost_usd is {budget}"
        return {
            agent: f"not asked: an answer costs about {costs[agent]:.2g} US dollars, and {bound}"
            for agent in costs.keys() - set(affordable(costs, budget))
        }

    def again(
        self,
        able: Mapping[str, int],
        calibrated: np.ndarray,
        posterior: np.ndarray,
        novelty: float,
        spent: float,
        wished: Collection[str] = (),
    ) -> dict[str, Gain | None]:
        """Return who looks again at an image that is not settled, and what that gains, where it is known.

        Where it is to help, that is the one whose look gains most beyond its cost, if there is one; and who is wished.

        Args:
            able: who can, and the label that its first look named (NO_LABEL if none).
            calibrated, posterior, novelty: as for `ValueOfInformation.gain`.
            spent: on the image so far, in US dollars.
            wished: whom a reasoner wants to look again, whether it helps or not.
        """
        cost, settings = self.costs["second"], self.settings
        left = None if settings.max_cost_usd is None else settings.max_cost_usd - spent
        if settings.second_look == "never":
            return {}
        if settings.second_look == "always":
            return dict.fromkeys(affordable({agent: cost.get(agent, 0.0) for agent in able}, left))
        gains = {
            agent: self.foresight.gain(agent, named, calibrated, posterior, novelty)
            for agent, named in able.items()
            if agent in self.foresight.seen.agents and affordable({agent: cost[agent]}, left)
        }
        net = {agent: gain.expected * settings.value_usd - cost[agent] for agent, gain in gains.items()}
        worth = [agent for agent in gains if gains[agent].expected > 0 and net[agent] > 0]
        chosen: dict[str, Gain | None] = {agent: gains[agent] for agent in sorted(worth, key=net.__getitem__)[-1:]}
        others = {agent: cost.get(agent, 0.0) for agent in wished if agent in able and agent not in chosen}
        left = None if left is None else left - sum(cost[agent] for agent in chosen)
        return chosen | dict.fromkeys(affordable(others, left))
