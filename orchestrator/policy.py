"""When a diagnosis is settled, and when a person must look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from consilience.orchestrator.calibration import log_probabilities
from consilience.orchestrator.trust import OVERCONFIDENT
from consilience.settings import PolicySettings

LEAST = OVERCONFIDENT
"""Whatever the target allows, nothing is called confident that the overconfidence ratio would not count as such."""

DISTRUSTED = 0.5
"""An agent is distrusted if its weight is less than this share of the greatest weight."""


@dataclass(frozen=True)
class Outcomes:
    """What the fusion said of labelled images out of fold: what a threshold is chosen on.

    Attributes:
        probability: posterior of the named label, float (n,).
        correct: whether it was right, bool (n,).
    """

    probability: np.ndarray
    correct: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        return {"probability": self.probability.tolist(), "correct": self.correct.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(np.array(data["probability"], dtype=np.float64), np.array(data["correct"], dtype=bool))


@dataclass(frozen=True)
class Threshold:
    """The least posterior that settles a diagnosis.

    Attributes:
        probability: the threshold; None if the labelled images cannot support the target: all is referred.
        settled: share of the labelled images that it settles.
        accuracy: share of those that were right.
    """

    probability: float | None
    settled: float
    accuracy: float


def choose_threshold(outcomes: Outcomes, target: float, least: float = LEAST) -> Threshold:
    """The lowest threshold from `least` on at which at least `target` of the settled diagnoses are right.

    One more settled image is counted as wrong, as in conformal risk control (Angelopoulos et al. 2024): with k settled
    and e of them wrong, (e + 1) / (k + 1) <= 1 - target. So a target of 0.95 needs at least 19 images that are right.
    """
    order = np.argsort(-outcomes.probability, kind="stable")
    probability, wrong = outcomes.probability[order], np.cumsum(~outcomes.correct[order])
    settled = np.arange(1, len(order) + 1)
    boundary = np.r_[probability[:-1] > probability[1:], True][: len(order)]  # equal ones are settled together
    possible = np.flatnonzero(boundary & (probability >= least) & ((wrong + 1) / (settled + 1) <= 1 - target + 1e-12))
    if not len(possible):
        return Threshold(None, 0.0, 0.0)
    last = possible[-1]
    return Threshold(
        float(probability[last]), float(settled[last] / len(order)), float(1 - wrong[last] / settled[last])
    )


@dataclass(frozen=True)
class Policy:
    """Decides from figures alone."""

    settings: PolicySettings
    threshold: Threshold

    def reasons(
        self,
        posterior: np.ndarray,
        calibrated: np.ndarray,
        weights: np.ndarray,
        names: Sequence[str],
        agents: Sequence[str],
        novelty: Sequence[float],
    ) -> list[list[str]]:
        """Why each of n images is not settled; an empty list if it is.

        Args:
            posterior: (n, c). calibrated: (a, n, c), NaN where an agent did not answer. weights: (n, a).
            names: the c labels. agents: the a agents. novelty: n, in [0, 1].
        """
        least = self.threshold.probability
        found: list[list[str]] = []
        for row, probabilities in enumerate(posterior):
            winner = int(probabilities.argmax())
            reasons = []
            if least is None:
                reasons.append(
                    f"too few labelled images were right for a threshold with {self.settings.target:.0%} accuracy"
                )
            elif probabilities[winner] < least:
                reasons.append(f"weak posterior: {probabilities[winner]:.3f} for {names[winner]} is below {least:.3f}")
            if weights[row].sum() > 0:
                words = np.nan_to_num(calibrated[:, row, :])
                reasons += self._doubts(words, weights[row], winner, names, agents)
            if novelty[row] > self.settings.max_novelty:
                reasons.append(f"novelty: {novelty[row]:.1%} of the known images have nearer neighbours than this one")
            found.append(reasons)
        return found

    def _doubts(
        self, words: np.ndarray, weights: np.ndarray, winner: int, names: Sequence[str], agents: Sequence[str]
    ) -> list[str]:
        reasons = []
        against = weights[words.argmax(axis=1) != winner].sum() / weights.sum()
        if against > self.settings.max_disagreement:
            reasons.append(f"disagreement: {against:.0%} of the weight names another label than {names[winner]}")
        logs = log_probabilities(words)
        lead = weights * (logs[:, winner] - np.delete(logs, winner, axis=1).max(axis=1))
        leader = int(np.where(weights > 0, lead, -np.inf).argmax())
        if weights[leader] < DISTRUSTED * weights.max():
            reasons.append(f"a distrusted agent leads: {agents[leader]} decides for {names[winner]} with little weight")
        return reasons
