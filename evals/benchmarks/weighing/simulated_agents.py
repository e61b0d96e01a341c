"""Simulated agents of which it is known how they err: independent or together, unequal, swapped, missing, in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.orchestrator.ensemble.silence import SILENT


@dataclass(frozen=True)
class Regime:
    """How agents err.

    Attributes:
        agents, labels: how many.
        skill: lowest and highest distance of the true label from the others, in standard deviations of the noise.
        shared: share of the noise's variance that agents of a clique have in common; clique: how many agents one has.
        trait: what is odd about them; empty: nothing. See `simulated`.
    """

    agents: int = 4
    labels: int = 4
    skill: tuple[float, float] = (1.3, 1.3)
    shared: float = 0.0
    clique: int = 1
    trait: str = ""


REGIMES: dict[str, Regime] = {
    "independent": Regime(),
    "unequal": Regime(skill=(0.6, 2.0)),
    "one strong, three weak": Regime(skill=(0.25, 0.25), trait="first is strong"),
    "redundant": Regime(shared=0.85, clique=4, skill=(1.5, 1.5)),
    "correlated in pairs": Regime(shared=0.85, clique=2, skill=(1.0, 1.7)),
    "three of four together": Regime(shared=0.9, clique=3),
    "an expert per label": Regime(trait="experts"),
    "one swaps two labels": Regime(trait="swaps"),
    "one names the next label": Regime(trait="adversary"),
    "one answers by chance": Regime(trait="chance"),
    "40 % missing": Regime(trait="missing"),
    "each silent on a label": Regime(trait="silent"),
    "words": Regime(skill=(0.8, 1.6), trait="words"),
    "words and a number": Regime(skill=(0.8, 1.6), trait="number"),
    "rankings": Regime(skill=(0.8, 1.6), trait="ranking"),
    "ten labels, eight agents": Regime(8, 10, (1.1, 3.3)),
    "ten labels, words": Regime(8, 10, (1.5, 3.0), trait="words"),
    "two labels, twenty agents": Regime(20, 2, (0.3, 1.0), 0.5, 2),
    "two labels, forty in words": Regime(40, 2, (0.1, 0.8), 0.3, 4, "words"),
    "twenty labels, experts": Regime(5, 20, trait="experts"),
    "two agents": Regime(2, 4, (1.0, 1.8)),
    "three labels, words and a number": Regime(5, 3, (0.5, 2.0), trait="number"),
    "ten labels, ten weak in words": Regime(10, 10, (0.5, 1.5), trait="words"),
    "ten labels, forty agents": Regime(40, 10, (0.3, 1.5), 0.3, 4),
    "a hundred labels, words": Regime(5, 100, (2.5, 4.0), trait="words"),
}


TRAITS = ("", "", "experts", "swaps", "adversary", "chance", "missing", "words", "words", "number")


def drawn_regimes(count: int, seed: int = 2026) -> dict[str, Regime]:
    """Return regimes that nothing was chosen on: agents, labels, skill and what is odd about them are drawn."""
    rng, regimes = np.random.default_rng(seed), {}
    for number in range(count):
        agents, labels = int(rng.integers(2, 16)), int(rng.choice([2, 3, 5, 8, 15, 30]))
        harder = 1 + 0.25 * float(np.log(labels))  # more labels need more skill
        lowest = float(rng.uniform(0.2, 1.5))
        highest = lowest + float(rng.uniform(0.0, 1.5))
        shared, clique = float(rng.choice([0.0, 0.0, 0.3, 0.6, 0.9])), int(rng.integers(1, agents + 1))
        skill, trait = (lowest * harder, highest * harder), str(rng.choice(TRAITS))
        regimes[f"drawn {number + 1}"] = Regime(agents, labels, skill, shared, clique, trait)
    return regimes


def simulated(name: str, n: int, seed: int, regime: Regime | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return raw answers (a, n, c) and labels (n,) of one of REGIMES or another.

    Rows are NaN where an agent was not asked, SILENT where it named nothing.

    Agents of which nothing else is said state softmax(t s (s truth + noise)): the posterior that they have, for t = 1;
    t differs from agent to agent, so that they are over- or underconfident.
    """
    regime, rng = regime or REGIMES[name], np.random.default_rng([seed, *name.encode()])
    a, c = regime.agents, regime.labels
    labels = rng.integers(0, c, n)
    truth = one_hot(labels, c)
    common = rng.standard_normal((a, n, c))[np.arange(a) // regime.clique]
    noise = np.sqrt(regime.shared) * common + np.sqrt(1 - regime.shared) * rng.standard_normal((a, n, c))
    skill = np.linspace(*regime.skill, a)
    if regime.trait == "first is strong":
        skill[0] = 2.1
    sharpness = np.exp(rng.normal(0, 0.5, a))
    at = np.repeat(skill[:, None], c, axis=1)  # by agent and label
    if regime.trait == "experts":
        at = np.where(np.arange(c) % a == np.arange(a)[:, None], 2.6, 0.6)
    raw = softmax((sharpness[:, None, None] * at[:, None] * (at[:, None] * truth + noise)).reshape(-1, c)).reshape(
        a, n, c
    )
    if regime.trait == "swaps":
        raw[0] = raw[0][:, [1, 0, *range(2, c)]]
    elif regime.trait == "adversary":
        raw[0] = np.roll(raw[0], 1, axis=1)
    elif regime.trait == "chance":
        raw[0] = softmax(3 * rng.standard_normal((n, c)))
    elif regime.trait == "missing":
        raw[rng.random((a, n)) < 0.4] = np.nan
    elif regime.trait == "silent":
        own = labels == np.arange(a)[:, None] % c
        raw[rng.random((a, n)) < np.where(own, 0.9, 0.1)] = SILENT
    elif regime.trait == "words":
        raw = one_hot(raw.argmax(axis=2), c)
    elif regime.trait == "ranking":  # two labels, where the second is nearly as likely as the first
        second, most = np.sort(raw, axis=2)[:, :, -2:-1], raw.max(axis=2, keepdims=True)
        raw = one_hot(raw.argmax(axis=2), c) + 0.5 * ((raw == second) & (second > 0.4 * most))
        raw /= raw.sum(axis=2, keepdims=True)
    elif regime.trait == "number":
        confidence = np.round(np.clip(rng.normal(0.8, 0.1, (a, n)), 0.4, 0.95), 1)[:, :, None]
        raw = np.where(one_hot(raw.argmax(axis=2), c) > 0, confidence, (1 - confidence) / (c - 1))
    return raw, labels
