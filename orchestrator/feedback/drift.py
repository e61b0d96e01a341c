"""Drift: has an agent become worse on recent images than it was when the panel was fitted?

Of each agent's look, as it counts after calibration, the images of `fit` (out of fold) and then the confirmed ones in
the order of their diagnoses are a row of right and wrong answers. The change for the worse that is most probable
maximises the likelihood ratio of two Bernoulli rates, before and after, over all places from the first confirmed image
on (Hinkley 1970). How often as great a ratio comes about where nothing has changed is found by shuffling the row
(exact, Phipson and Smyth 2010), which also pays for the search over places; over the agents the p-values are corrected
by Holm's method (1979). What this does not see is that people correct more readily than they confirm, see
`Drift.confirmed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from consilience.core.errors import AgentError, PanelError
from consilience.core.prediction import Stage
from consilience.orchestrator.ensemble.cross_fitting import split_into_folds
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History, StoredDiagnosis
from consilience.orchestrator.feedback.learned_changes import changes_in
from consilience.orchestrator.fitting.collect import answers_of
from consilience.orchestrator.fitting.fit_ensemble import judge_all
from consilience.orchestrator.panel.panel import Panel

ALPHA = 0.05
"""The chance of a false alarm for a panel, all its agents together."""

SHUFFLES = 1999
"""So that the least p-value is 1 / 2000."""

MIN_IMAGES = 5
"""Confirmed images after a change, at least: fewer show nothing."""


@dataclass(frozen=True)
class AgentDrift:
    """The accuracy of one agent's look, as `fit` measured it and on confirmed images.

    Attributes:
        agent, stage: whose look it is.
        fitted: accuracy when the panel was fitted, on `fitted_images` images.
        confirmed: how many confirmed images it named a label for.
        accuracy: on these; None without any.
        since: when its accuracy most probably changed for the worse; None if nothing speaks for a change.
        recent: accuracy from then on, on `recent_images` images.
        low, high: the 95 % interval of `recent` (Wilson).
        p_value: the chance of at least such a fall where nothing has changed, corrected for the number of agents.
        has_fallen: whether that is below ALPHA.
    """

    agent: str
    stage: Stage
    fitted: float
    fitted_images: int
    confirmed: int
    accuracy: float | None
    since: datetime | None = None
    recent: float | None = None
    recent_images: int = 0
    low: float | None = None
    high: float | None = None
    p_value: float = 1.0
    has_fallen: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data, for JSON."""
        since = self.since and self.since.isoformat(timespec="seconds")
        return {**self.__dict__, "since": since}


@dataclass(frozen=True)
class Drift:
    """How each agent of a panel does on confirmed images.

    Attributes:
        agents: one entry a look.
        diagnosed: how many diagnoses are kept.
        confirmed: of how many people said what is right.
        corrected: how many of those were wrong. People correct more readily than they confirm, so confirmed images are
            harder than others where few diagnoses are confirmed.
    """

    agents: tuple[AgentDrift, ...]
    diagnosed: int
    confirmed: int
    corrected: int

    @property
    def fallen(self) -> tuple[AgentDrift, ...]:
        """Return the looks that have become worse."""
        return tuple(agent for agent in self.agents if agent.has_fallen)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data, for JSON."""
        return {
            "agents": [agent.to_dict() for agent in self.agents],
            "diagnosed": self.diagnosed,
            "confirmed": self.confirmed,
            "corrected": self.corrected,
        }


def drift(panel: Panel, history: History, *, seed: int = 0) -> Drift:
    """Compare each agent's accuracy on confirmed images with what `fit` measured.

    An image is confirmed if a vote on it counts, learned or not. Of one image its first diagnosis is taken, and none of
    an image that the memory held already.

    Args:
        seed: of the shuffles behind the p-values, and of the folds of `fit`.

    Raises:
        HistoryError: the database cannot be used.
        PanelError: nothing was measured at fit: the panel's trust is estimated from agreement.
    """
    if panel.agreement is not None:
        raise PanelError(
            f"the panel '{panel.path}' was fitted without truth: its agents' trust was not measured, so that none can "
            "be seen to have fallen; 'consilience evaluate' measures it"
        )
    cases = _confirmed(panel, history)
    agents = []
    for number, (member, before) in enumerate(zip(panel.members, _at_fit(panel, seed), strict=True)):
        after = [(stored.when, label == truth) for stored, truth, label in _named(cases, member.agent, member.stage)]
        agents.append(_compared(member.agent, member.stage, before, after, np.random.default_rng([seed, number])))
    return Drift(
        tuple(_corrected(agents)),
        history.count(),
        len(cases),
        sum(stored.diagnosis.label != truth for stored, truth in cases),
    )


def change_point(is_right: np.ndarray, first: int) -> tuple[int, float]:
    """Return where a row of right and wrong answers most probably became worse.

    Args:
        is_right: whether each answer was right, in order, bool (n,).
        first: the earliest place that is asked about.

    Returns:
        The place from which on the rate is lower, and the log likelihood ratio; (n, 0.0) if it is lower nowhere.
    """
    places, ratios = _ratios(is_right[None], first)
    best = int(ratios[0].argmax()) if ratios.shape[1] else 0
    if not ratios.shape[1] or ratios[0, best] <= 0:
        return len(is_right), 0.0
    return int(places[best]), float(ratios[0, best])


def _ratios(is_right: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places that are asked about, (p,), and of each row (b, n) the log likelihood ratios there, (b, p)."""
    n = is_right.shape[1]
    places = np.arange(max(first, 1), n - MIN_IMAGES + 1)
    right = np.cumsum(is_right, axis=1, dtype=np.int64)
    total, before = right[:, -1:], right[:, places - 1]
    after = total - before
    ratio = _likelihood(before, places) + _likelihood(after, n - places) - _likelihood(total, np.array(n))
    return places, np.where(after * places < before * (n - places), ratio, 0.0)


def _likelihood(right: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the greatest log likelihood of `right` out of n."""
    from scipy.special import xlogy

    return np.asarray(xlogy(right, right / n) + xlogy(n - right, 1 - right / n))


def _compared(
    agent: str, stage: Stage, before: np.ndarray, after: Sequence[tuple[datetime, bool]], rng: np.random.Generator
) -> AgentDrift:
    """Return the figures of one look, given its right and wrong answers before and after, uncorrected."""
    from scipy.stats import binomtest

    right = np.array([is_right for _, is_right in after], dtype=bool)
    accuracy = float(right.mean()) if len(right) else None
    compared = AgentDrift(agent, stage, float(before.mean()), len(before), len(right), accuracy)
    row = np.r_[before, right]
    place, ratio = change_point(row, len(before))
    if ratio == 0.0:
        return compared
    shuffled = (_ratios(rng.permutation(row)[None], len(before))[1].max() for _ in range(SHUFFLES))
    p_value = (1 + sum(bool(value >= ratio - 1e-12) for value in shuffled)) / (SHUFFLES + 1)
    recent = right[place - len(before) :]
    interval = binomtest(int(recent.sum()), len(recent)).proportion_ci(method="wilson")
    return replace(
        compared,
        since=after[place - len(before)][0],
        recent=float(recent.mean()),
        recent_images=len(recent),
        low=float(interval.low),
        high=float(interval.high),
        p_value=p_value,
    )


def _corrected(agents: Sequence[AgentDrift]) -> list[AgentDrift]:
    """Return the looks with p-values corrected by Holm's method."""
    worst_first = sorted(range(len(agents)), key=lambda number: agents[number].p_value)
    corrected, least = list(agents), 0.0
    for rank, number in enumerate(worst_first):
        least = max(least, min(agents[number].p_value * (len(agents) - rank), 1.0))
        corrected[number] = replace(agents[number], p_value=least, has_fallen=bool(least < ALPHA))
    return corrected


def _at_fit(panel: Panel, seed: int) -> list[np.ndarray]:
    """Return by member which answers were right at fit, bool, calibrated out of fold as its trust was measured.

    Their order says nothing. Where an agent answered too few of the images that are left, calibration is left out.
    """
    fitted = panel.predictions.take(panel.predictions.changes == 0)
    rows = np.array([panel.labelled_images.rows[identity] for identity in fitted.ids], dtype=np.intp)
    folds = split_into_folds(fitted.labels, seed, panel.labelled_images.group_numbers[rows])
    looks = [answers_of(member, raw) for member, raw in zip(panel.members, fitted.raw, strict=True)]
    try:
        _, counted = judge_all(looks, fitted.labels, folds, panel.task)
    except AgentError:
        counted = fitted.raw
    answered = np.isfinite(counted).all(axis=2)
    return [
        np.asarray(answers[is_there].argmax(axis=1) == fitted.labels[is_there])
        for answers, is_there in zip(counted, answered, strict=True)
    ]


def _confirmed(panel: Panel, history: History) -> list[tuple[StoredDiagnosis, str]]:
    """Return the confirmed diagnoses with the true label, the oldest first."""
    votes = {vote.diagnosis: vote for vote in Feedbacks(history).all("counts")}
    learned = {change.number: change.when for change in changes_in(history.database)}
    cases: dict[str, tuple[StoredDiagnosis, str]] = {}
    for stored in sorted(map(history.get, votes), key=lambda diagnosis: diagnosis.when):
        vote, identity = votes[stored.id], stored.diagnosis.identity
        is_older = vote.change in learned and stored.when < learned[vote.change]  # than the image in the memory
        if is_older or identity not in panel.labelled_images.rows:
            cases.setdefault(identity, (stored, vote.label))
    return [(stored, truth) for stored, truth in cases.values() if panel.task.find(truth) is not None]


def _named(
    cases: Sequence[tuple[StoredDiagnosis, str]], agent: str, stage: Stage
) -> list[tuple[StoredDiagnosis, str, str]]:
    """Return the cases for which an agent's look named a label, with that label as it counted."""
    return [
        (stored, truth, label)
        for stored, truth in cases
        for prediction in stored.diagnosis.predictions
        if (prediction.agent, prediction.stage) == (agent, stage) and (label := prediction.counted_label) is not None
    ]
