"""What each agent adds to a panel, and what the panel would be without it: measured out of fold when it is fitted.

The fusions that were fitted on the other folds pool the first looks with and without an agent, on the same images. The
difference in accuracy has the interval of Agresti and Min (2005, "Simple improved confidence intervals for comparing
matched proportions"): half an image more in each cell of the table of both. Groups count, not images, where some show
the same thing. An agent that adds nothing beyond chance, and errs as another one does, repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from consilience.agents.heads.model_selection import sample
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.pool_weights import error_correlations, evidence

REPEATS_FROM = 0.5
"""Correlation of errors from which on an agent that adds nothing repeats another. Heads that read the same features
have 0.7 to 0.9; agents that err independently 0."""

CHANCE = 0.01
"""Probability with which chance alone may show a confusion where there is none, over all pairs of labels."""

NORMAL = 1.96
"""Standard errors to each side, for an interval of 95 %."""


@dataclass(frozen=True)
class Confusion:
    """A label that an agent takes for another one more often than its other mistakes tell.

    Attributes:
        label: the true one. said: what it is taken for.
        share: of the images of `label`, in [0, 1].
    """

    label: str
    said: str
    share: float


@dataclass(frozen=True)
class Contribution:
    """What one agent adds to a panel's first looks.

    Attributes:
        agent: its name.
        images: labelled images that it answered.
        alone: share of these that it names rightly, calibrated and out of fold, in [0, 1].
        adds: accuracy of the panel with it less that without it, in [-1, 1]; None of an only agent.
        low, high: between these `adds` lies with 95 %.
        without: accuracy of the panel without it, in [0, 1]; None of an only agent.
        repeats: the agent that it repeats, if it adds nothing beyond chance and errs as that one does.
        confusion: its most typical mistake in its own words, if there is one beyond chance; calibration may undo it.
        cost_usd: what its first look costs, on average.
        seconds: by how much an image is decided sooner without it, on average: agents are asked at the same time.
    """

    agent: str
    images: int
    alone: float
    adds: float | None
    low: float
    high: float
    without: float | None
    repeats: str | None
    confusion: Confusion | None
    cost_usd: float
    seconds: float

    @property
    def is_noise(self) -> bool:
        """Return whether chance could make such a difference."""
        return self.low <= 0.0 <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned. Raises KeyError or TypeError: a part is missing or unknown."""
        confusion = data["confusion"]
        return cls(**{**data, "confusion": None if confusion is None else Confusion(**confusion)})


def contributions_of(
    members: Sequence[Member],
    first: np.ndarray,
    named: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    fusions: Iterable[tuple[np.ndarray, Fusion]],
    names: Sequence[str],
) -> tuple[Contribution, ...]:
    """Return what each agent adds, in the order of the members; agents without an answer are left out.

    Of very many images a fixed sample is judged, as a few numbers need no more.

    Args:
        first: calibrated first looks, out of fold (a, n, c), NaN where there is none.
        named: the label that each look named in its own words, before calibration, int (a, n).
        labels: int (n,). groups: number of the group of each image, int (n,).
        fusions: for each fold which images are in it, bool (n,), and the weights that the others support.
        names: the c labels.
    """
    answered = np.isfinite(first).all(axis=2)
    looks = np.flatnonzero(answered.any(axis=1)).tolist()
    rows = np.flatnonzero(answered.any(axis=0))
    rows = rows[sample(len(rows))]
    parts = [(here[rows], fusion) for here, fusion in fusions]
    first, answered, named = first[:, rows], answered[:, rows], named[:, rows]
    labels, groups = labels[rows], groups[rows]
    right = _right(first, labels, parts)
    together = _correlations(first[looks], answered[looks], labels, parts) if len(looks) > 1 else np.eye(1)
    seconds = [members[look].seconds for look in looks]
    found = []
    for place, look in enumerate(looks):
        member, here, adds, low, high, without, repeats = members[look], answered[look], None, 0.0, 0.0, None, None
        if len(looks) > 1:
            silent = first.copy()
            silent[look] = np.nan
            otherwise = _right(silent, labels, parts)
            adds, low, high = _difference(right - otherwise, groups)
            without = float(otherwise.mean())
            others = np.where(np.arange(len(looks)) == place, -1.0, together[place])
            if low <= 0.0 <= high and others.max() >= REPEATS_FROM:
                repeats = members[looks[int(others.argmax())]].agent
        waits = [other for number, other in enumerate(seconds) if number != place]
        found.append(
            Contribution(
                agent=member.agent,
                images=member.trust.n,
                alone=member.trust.accuracy or 0.0,
                adds=adds,
                low=low,
                high=high,
                without=without,
                repeats=repeats,
                confusion=typical_confusion(named[look, here], labels[here], names, groups[here]),
                cost_usd=member.cost_usd,
                seconds=max(seconds) - max(waits, default=0.0),
            )
        )
    return tuple(found)


def typical_confusion(
    named: np.ndarray, labels: np.ndarray, names: Sequence[str], groups: np.ndarray
) -> Confusion | None:
    """Return the wrong label that is named for the greatest share of a label's images, if that is beyond chance.

    Chance are the agent's mistakes, spread evenly over all labels and all wrong names; with c labels c (c - 1) pairs
    are looked at, which the test allows for (Bonferroni).

    Args:
        named, labels: int (n,). groups: int (n,), each counts as one image.
    """
    from scipy.stats import binom

    c, n = len(names), len(labels)
    counts = np.zeros((c, c))
    np.add.at(counts, (labels, named), 1.0)
    of_label, thinned = counts.sum(axis=1, keepdims=True), len(np.unique(groups)) / max(n, 1)
    chance = (n - np.trace(counts)) / max(n, 1) / (c - 1)
    hits, trials = np.floor(thinned * counts + 1e-9), np.floor(thinned * of_label + 1e-9)
    is_beyond = (hits > 0) & (binom.sf(hits - 1, trials, chance) * c * (c - 1) < CHANCE)
    shares = np.where(is_beyond & ~np.eye(c, dtype=bool), counts / np.maximum(of_label, 1), 0.0)
    label, said = np.unravel_index(int(shares.argmax()), shares.shape)
    if shares[label, said] == 0.0:
        return None
    return Confusion(names[int(label)], names[int(said)], float(shares[label, said]))


def _right(first: np.ndarray, labels: np.ndarray, parts: Sequence[tuple[np.ndarray, Fusion]]) -> np.ndarray:
    """Return whether the pool names each image rightly, 0 or 1, float (n,)."""
    right = np.zeros(len(labels))
    for here, fusion in parts:
        if here.any():
            right[here] = fusion.posterior(first[:, here])[0].argmax(axis=1) == labels[here]
    return right


def _correlations(
    first: np.ndarray, answered: np.ndarray, labels: np.ndarray, parts: Sequence[tuple[np.ndarray, Fusion]]
) -> np.ndarray:
    """Return how what the agents say beside the truth correlates, (a, a); by the labels' shares in the first part."""
    log_prior = parts[0][1].log_prior
    shares = np.zeros(first.shape[2]) if log_prior is None else log_prior
    return error_correlations(evidence(first, shares), answered, labels)


def _difference(differences: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of paired differences in [-1, 1], float (n,), and between what it lies with 95 %."""
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    of_group = np.bincount(group_of, differences) / sizes
    k = len(sizes)
    centre = of_group.sum() / (k + 2)
    width = NORMAL * np.sqrt(max(((of_group**2).sum() + 1) / (k + 2) - centre**2, 0.0) / (k + 2))
    return float(of_group.mean()), float(centre - width), float(centre + width)
