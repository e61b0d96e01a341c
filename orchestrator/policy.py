"""When a diagnosis is settled, and when a person must look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from consilience.orchestrator.calibration import FLOOR, log_probabilities
from consilience.orchestrator.trust import OVERCONFIDENT
from consilience.prediction import look_name
from consilience.settings import PolicySettings

LEAST = OVERCONFIDENT
"""Whatever the target allows, nothing is called confident that the overconfidence ratio would not count as such."""

DISTRUSTED = 0.5
"""An agent is distrusted if its weight is less than this share of the greatest weight."""


@dataclass(frozen=True)
class Outcomes:
    """What the fusion said of labelled images out of fold: what thresholds are chosen on.

    Attributes:
        probability: posterior of the named label, float (n,).
        correct: whether it was right, bool (n,).
        again: by agent, the same of the same images with the agent's second look in the place of its first.
    """

    probability: np.ndarray
    correct: np.ndarray
    again: Mapping[str, Outcomes] = field(default_factory=dict)

    @classmethod
    def of(cls, posterior: np.ndarray, labels: np.ndarray) -> Self:
        """Of a posterior (n, c) and the true labels, int (n,)."""
        return cls(posterior.max(axis=1), posterior.argmax(axis=1) == labels)

    def take(self, rows: np.ndarray) -> Outcomes:
        """The outcomes of some images, without those of second looks."""
        return Outcomes(self.probability[rows], self.correct[rows])

    def to_dict(self) -> dict[str, Any]:
        again = {agent: one.to_dict() for agent, one in self.again.items()}
        return {"probability": self.probability.tolist(), "correct": self.correct.tolist(), "again": again}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        again = {agent: cls.from_dict(one) for agent, one in data.get("again", {}).items()}
        return cls(np.array(data["probability"], dtype=np.float64), np.array(data["correct"], dtype=bool), again)


NOTHING = Outcomes(np.empty(0), np.empty(0, dtype=bool))


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

    @property
    def least(self) -> float:
        """The probability; infinite where nothing settles."""
        return np.inf if self.probability is None else self.probability


def choose_threshold(
    outcomes: Outcomes, target: float, least: float = LEAST, *, before: Outcomes = NOTHING
) -> Threshold:
    """The lowest threshold from `least` on at which at least `target` of the settled diagnoses are right.

    One more settled image is counted as wrong, as in conformal risk control (Angelopoulos et al. 2024): with k settled
    and e of them wrong, (e + 1) / (k + 1) <= 1 - target. So a target of 0.95 needs at least 19 images that are right.

    Args:
        before: what was settled already. It counts among the k and the e, but not in the `Threshold`'s shares.
    """
    order = np.argsort(-outcomes.probability, kind="stable")
    probability, wrong = outcomes.probability[order], np.cumsum(~outcomes.correct[order])
    settled = np.arange(1, len(order) + 1)
    boundary = np.r_[probability[:-1] > probability[1:], True][: len(order)]  # equal ones are settled together
    risk = (wrong + (~before.correct).sum() + 1) / (settled + len(before.correct) + 1)
    possible = np.flatnonzero(boundary & (probability >= least) & (risk <= 1 - target + 1e-12))
    if not len(possible):
        return Threshold(None, 0.0, 0.0)
    last = possible[-1]
    return Threshold(
        float(probability[last]), float(settled[last] / len(order)), float(1 - wrong[last] / settled[last])
    )


def threshold_again(first: Outcomes, second: Outcomes, threshold: Threshold, target: float) -> Threshold:
    """The threshold of diagnoses in which an agent has looked again, given the `threshold` of those in which not.

    It is chosen on what the first looks did not settle, so that of all that is settled, at first or now, at least
    `target` is right. If no labelled image tells (none that is left has a posterior of LEAST), the first one stands.
    """
    is_settled = first.probability >= threshold.least
    left = second.take(~is_settled)
    if not (left.probability >= LEAST).any():
        return threshold
    return choose_threshold(left, target, before=first.take(is_settled))


@dataclass(frozen=True)
class Doubts:
    """What may speak against each of n diagnoses. All arrays are (n,).

    Attributes:
        winner: the named label. least: the posterior that would settle it.
        is_weak: its posterior is below that.
        against: share of the weight that names another label.
        leader: who decides for the winner. is_distrusted: with little weight.
        is_split, is_novel: `against` and the novelty are above their bounds.
    """

    winner: np.ndarray
    least: np.ndarray
    is_weak: np.ndarray
    against: np.ndarray
    is_split: np.ndarray
    leader: np.ndarray
    is_distrusted: np.ndarray
    is_novel: np.ndarray

    @property
    def settled(self) -> np.ndarray:
        return np.asarray(~(self.is_weak | self.is_split | self.is_distrusted | self.is_novel))


@dataclass(frozen=True)
class Policy:
    """Decides from figures alone.

    Attributes:
        threshold: of diagnoses from first looks.
        again: by the name of a second look, the threshold of diagnoses in which it is weighed; of several the
            greatest holds. Of one that is not here, nothing is known, and it changes no threshold.
    """

    settings: PolicySettings
    threshold: Threshold
    again: Mapping[str, Threshold] = field(default_factory=dict)

    @classmethod
    def chosen(cls, settings: PolicySettings, outcomes: Outcomes) -> Self:
        """With the thresholds that the outcomes support."""
        first = choose_threshold(outcomes, settings.target)
        again = {
            look_name(agent, "second"): threshold_again(outcomes, second, first, settings.target)
            for agent, second in outcomes.again.items()
        }
        return cls(settings, first, again)

    def doubts(
        self,
        posterior: np.ndarray,
        calibrated: np.ndarray,
        weights: np.ndarray,
        looks: Sequence[str],
        novelty: np.ndarray,
    ) -> Doubts:
        """What speaks against n diagnoses.

        Args:
            posterior: (n, c). calibrated: (a, n, c), NaN where a look was not taken. weights: (n, a).
            looks: the names of the a looks. novelty: (n,), in [0, 1].
        """
        winner, heard = posterior.argmax(axis=1), np.isfinite(calibrated[:, :, 0])
        of_look = np.array([self.again[look].least if look in self.again else 0.0 for look in looks])
        again = np.where(heard, of_look[:, None], 0.0).max(axis=0)
        least = np.where(again > 0, again, self.threshold.least)
        logs = log_probabilities(np.nan_to_num(np.ascontiguousarray(np.moveaxis(calibrated, 2, 0))))  # (c, a, n)
        at_winner = np.broadcast_to(winner, (1, *heard.shape))
        for_winner = np.take_along_axis(logs, at_winner, axis=0)[0]
        np.put_along_axis(logs, at_winner, -np.inf, axis=0)
        lead = for_winner - logs.max(axis=0)  # (a, n)
        against = (weights.T * (lead < 0)).sum(axis=0) / np.maximum(weights.sum(axis=1), FLOOR)
        lead = np.where(weights.T > 0, weights.T * lead, -np.inf)
        leader = lead.argmax(axis=0)
        its_weight = np.take_along_axis(weights, leader[:, None], axis=1)[:, 0]
        return Doubts(
            winner=winner,
            least=least,
            is_weak=posterior.max(axis=1) < least,
            against=against,
            is_split=against > self.settings.max_disagreement,
            leader=leader,
            is_distrusted=its_weight < DISTRUSTED * weights.max(axis=1),
            is_novel=novelty > self.settings.max_novelty,
        )

    def reasons(
        self,
        posterior: np.ndarray,
        calibrated: np.ndarray,
        weights: np.ndarray,
        names: Sequence[str],
        looks: Sequence[str],
        novelty: Sequence[float],
    ) -> list[list[str]]:
        """Why each of n images is not settled; an empty list if it is.

        Args: as for `doubts`; and names: the c labels.
        """
        doubts = self.doubts(posterior, calibrated, weights, looks, np.asarray(novelty))
        found: list[list[str]] = [[] for _ in novelty]
        for row in np.flatnonzero(~doubts.settled).tolist():
            winner, least, reasons = names[doubts.winner[row]], doubts.least[row], found[row]
            if doubts.is_weak[row] and least == np.inf:
                reasons.append(
                    f"too few labelled images were right for a threshold with {self.settings.target:.0%} accuracy"
                )
            elif doubts.is_weak[row]:
                reasons.append(f"weak posterior: {posterior[row].max():.3f} for {winner} is below {least:.3f}")
            if doubts.is_split[row]:
                reasons.append(
                    f"disagreement: {doubts.against[row]:.0%} of the weight names another label than {winner}"
                )
            if doubts.is_distrusted[row]:
                leader = looks[doubts.leader[row]]
                reasons.append(f"a distrusted agent leads: {leader} decides for {winner} with little weight")
            if doubts.is_novel[row]:
                reasons.append(f"novelty: {novelty[row]:.1%} of the known images have nearer neighbours than this one")
        return found
