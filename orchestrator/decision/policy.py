"""When a diagnosis is settled, and when a person must look.

One thing decides what the posterior must be, by `policy.settle`:

- "conformal": exactly one label cannot be excluded (`conformal`), and its posterior is at least MIN_JUDGED_POSTERIOR.
  The set misses the true label in at most 1 - coverage of the images.
- "risk_control": the posterior reaches a threshold at which, but for a chance of delta, at least the target of what is
  settled is right (`choose_threshold`).

Where costs are set (`decision.costs`), they decide in the place of both: the label that is expected to cost least is
settled if that is less than what asking a person costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.prediction import look_name
from consilience.core.render.phrases import percent
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import MIN_JUDGED_POSTERIOR, CalibrationSet, sets_again
from consilience.orchestrator.decision.conformal import LabelSets, images_needed, widest, with_top
from consilience.orchestrator.decision.threshold import Threshold, choose_threshold, images_for, threshold_again
from consilience.orchestrator.ensemble.scaling import FLOOR, log_probabilities
from consilience.orchestrator.in_use.costs import Costs

LABELS_NAMED = 4
"""Labels that a reason names, at most."""

DISTRUSTED = 0.5
"""A source of evidence is distrusted if its weight is less than this share of the greatest source's."""


def under_alarm(diagnosis: Diagnosis, reason: str) -> Diagnosis:
    """Return a diagnosis that a person must look at, for this reason first, whatever else speaks for or against it."""
    rationale = f"{reason}. {diagnosis.rationale}"
    return replace(diagnosis, verdict="refer", reasons=(reason, *diagnosis.reasons), rationale=rationale)


@dataclass(frozen=True)
class Doubts:
    """What may speak against each of n diagnoses. All arrays are (n,).

    Attributes:
        winner: the most probable label. named: the one that the diagnosis names; another only where costs say so.
        least: the posterior that would settle it.
        is_weak: its posterior is below that, or that of the labelled images of its label (`left` without it).
        is_dear: it is expected to cost as much as asking a person, or more; `cost`: how much, 0 without costs.
        left: labels that cannot be excluded, (n, c). is_open: they are more than one, where that counts.
        against: share of the weight that names another label.
        leader: who decides for the winner. is_distrusted: with little weight, and so have those that see what it sees.
        is_split, is_novel: `against` and the novelty are above their bounds.
    """

    winner: np.ndarray
    named: np.ndarray
    least: np.ndarray
    is_weak: np.ndarray
    is_dear: np.ndarray
    cost: np.ndarray
    left: np.ndarray
    is_open: np.ndarray
    against: np.ndarray
    is_split: np.ndarray
    leader: np.ndarray
    is_distrusted: np.ndarray
    is_novel: np.ndarray

    @property
    def settled(self) -> np.ndarray:
        """Return which diagnoses nothing speaks against, bool (n,)."""
        doubts = self.is_weak | self.is_dear | self.is_open | self.is_split | self.is_distrusted | self.is_novel
        return np.asarray(~doubts)


@dataclass(frozen=True)
class Policy:
    """When a diagnosis is settled; it decides from figures alone.

    Attributes:
        threshold: of diagnoses from first looks.
        again: by the name of a second look, the threshold of diagnoses in which it is weighed; of several the
            greatest holds. Of one that is not here, nothing is known, and it changes no threshold.
        sets, sets_again: in the same way what may be excluded; of several, what none excludes. None: nothing is known,
            and neither sets are calibrated nor the verdict follows them.
        images: groups of labelled images that all this was chosen on; `unit`: what they are called.
        costs: what names a label, and settles it; None: the most probable one is named.
        sources: number of the source of each look, by its name: heads on one eye share a weight. A look that is not
            here is a source of its own.
    """

    settings: PolicySettings
    threshold: Threshold
    again: Mapping[str, Threshold] = field(default_factory=dict)
    sets: LabelSets | None = None
    sets_again: Mapping[str, LabelSets] = field(default_factory=dict)
    images: int = 0
    unit: str = "images"
    costs: Costs | None = None
    sources: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def chosen(cls, settings: PolicySettings, calibration_set: CalibrationSet) -> Self:
        """Return the policy that the labelled images support, as they count in use (`in_use`)."""
        sets, costs = calibration_set.sets(settings.coverage), calibration_set.costs
        looked = {look_name(agent, "second"): second for agent, second in calibration_set.again.items()}
        again_sets = {name: sets_again(calibration_set, second, settings.coverage) for name, second in looked.items()}
        images, unit = calibration_set.n_groups, calibration_set.unit
        if settings.settle == "conformal" or costs is not None:
            least = Threshold(MIN_JUDGED_POSTERIOR if costs is None else 0.0, np.nan, np.nan)
            return cls(settings, least, {}, sets, again_sets, images, unit, costs)
        first = choose_threshold(calibration_set, settings.target, settings.delta)
        again = {
            name: threshold_again(calibration_set, second, first, settings.target, settings.delta)
            for name, second in looked.items()
        }
        return cls(settings, first, again, sets, again_sets, images, unit)

    @property
    def follows_sets(self) -> bool:
        """Return whether prediction sets decide, and not the posterior alone."""
        return self.settings.settle == "conformal" and self.sets is not None and self.costs is None

    def settled(self, images: CalibrationSet) -> np.ndarray:
        """Return which images their posterior settles, bool (n,), whatever else speaks against them.

        Args:
            images: as they count in use, under the same costs.
        """
        if self.sets is not None and (self.follows_sets or self.costs is not None):
            return images.settled_by(self.sets)
        return np.asarray(images.probability >= self.threshold.least)

    def named(self, posterior: np.ndarray) -> np.ndarray:
        """Return the label that a posterior (n, c) names, int (n,): the most probable one, or that of least cost."""
        return np.asarray(posterior.argmax(axis=1)) if self.costs is None else self.costs.best(posterior)

    def expected_cost(self, posterior: np.ndarray) -> np.ndarray | None:
        """Return what naming it is expected to cost, float (n,); None where costs decide nothing."""
        return None if self.costs is None else np.asarray(self.costs.expected(posterior).min(axis=1))

    def _left(self, posterior: np.ndarray, answered: np.ndarray, looks: Sequence[str]) -> np.ndarray:
        """Labels that cannot be excluded, bool (n, c); a row may be empty. All, where nothing is known."""
        if self.sets is None:
            return np.ones(posterior.shape, dtype=bool)
        left = self.sets.of(posterior)
        revised = [index for index, look in enumerate(looks) if look in self.sets_again]
        again = answered[revised]  # (t, n)
        for who in np.unique(again, axis=1).T if again.any() else ():
            if who.any():
                here = (again == who[:, None]).all(axis=0)
                used = [self.sets_again[looks[index]] for index in np.array(revised)[who]]
                left[here] = widest(used).of(posterior[here])
        return left

    def prediction_sets(
        self, posterior: np.ndarray, calibrated: np.ndarray, names: Sequence[str], looks: Sequence[str]
    ) -> list[list[str]]:
        """Return of each of n images the labels that cannot be excluded, most probable first; as for `reasons`.

        Where nothing is known of labels (a replay of recorded answers), those whose posterior together
        reaches the coverage: nothing is guaranteed of these.
        """
        order = np.argsort(-posterior, axis=1, kind="stable")
        if self.sets is None:
            mass = np.cumsum(np.take_along_axis(posterior, order, axis=1), axis=1)
            sizes = np.minimum((mass < self.settings.coverage).sum(axis=1) + 1, posterior.shape[1])
            return [[names[place] for place in row[:n]] for row, n in zip(order.tolist(), sizes.tolist(), strict=True)]
        kept = with_top(posterior, self._left(posterior, np.isfinite(calibrated[:, :, 0]), looks))
        kept[np.arange(len(kept)), self.named(posterior)] = True
        kept = np.take_along_axis(kept, order, axis=1)
        return [
            [names[place] for place, is_in in zip(row, ins, strict=True) if is_in]
            for row, ins in zip(order.tolist(), kept.tolist(), strict=True)
        ]

    def doubts(
        self,
        posterior: np.ndarray,
        calibrated: np.ndarray,
        weights: np.ndarray,
        looks: Sequence[str],
        novelty: np.ndarray,
    ) -> Doubts:
        """Return what speaks against each of n diagnoses.

        Args:
            posterior: (n, c). calibrated: (a, n, c), NaN where a look was not taken. weights: (n, a).
            looks: the names of the a looks. novelty: (n,), in [0, 1].
        """
        winner, answered = posterior.argmax(axis=1), np.isfinite(calibrated[:, :, 0])
        of_look = np.array([self.again[look].least if look in self.again else 0.0 for look in looks])
        again = np.where(answered, of_look[:, None], 0.0).max(axis=0)
        least = np.where(again > 0, again, self.threshold.least)
        left = self._left(posterior, answered, looks)
        size = left.sum(axis=1) if self.follows_sets else np.ones(len(left), np.intp)
        words, at_winner = np.moveaxis(calibrated, 2, 0).copy(), np.broadcast_to(winner, (1, *answered.shape))
        for_winner = np.take_along_axis(words, at_winner, axis=0)[0]
        np.put_along_axis(words, at_winner, 0.0, axis=0)
        both = np.where(answered, [for_winner, words.max(axis=0)], 0.0)  # of the winner and of the best other label
        lead = np.subtract(*log_probabilities(both))  # (a, n)
        against = (weights.T * (lead < 0)).sum(axis=0) / np.maximum(weights.sum(axis=1), FLOOR)
        lead = np.where(weights.T > 0, weights.T * lead, -np.inf)
        leader = lead.argmax(axis=0)
        sources = np.array([self.sources.get(look, -1 - number) for number, look in enumerate(looks)])
        together = weights @ (sources[:, None] == sources)  # (n, a), of each look's source
        its_weight = np.take_along_axis(together, leader[:, None], axis=1)[:, 0]
        cost = self.expected_cost(posterior)
        is_dear = np.zeros(len(winner), bool) if self.costs is None else ~self.costs.is_settled(posterior)
        return Doubts(
            winner=winner,
            named=self.named(posterior),
            least=least,
            is_weak=(posterior.max(axis=1) < least) | (size == 0),
            is_dear=is_dear,
            cost=np.zeros(len(winner)) if cost is None else cost,
            left=left,
            is_open=size > 1,
            against=against,
            is_split=against > self.settings.max_disagreement,
            leader=leader,
            is_distrusted=its_weight < DISTRUSTED * together.max(axis=1),
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
        """Return why each of n images is not settled, in plain words; an empty list if it is.

        Args: as for `doubts`; and names: the c labels.
        """
        doubts = self.doubts(posterior, calibrated, weights, looks, np.asarray(novelty))
        by_image: list[list[str]] = [[] for _ in novelty]
        for row in np.flatnonzero(~doubts.settled).tolist():
            winner, reasons = names[doubts.winner[row]], by_image[row]
            if doubts.is_open[row]:
                reasons.append(self._several(posterior[row], doubts.left[row], names))
            if doubts.is_weak[row]:
                reasons.append(self._weak(float(posterior[row].max()), float(doubts.least[row]), winner))
            if doubts.is_dear[row] and self.costs is not None:
                reasons.append(_dear(names[doubts.named[row]], float(doubts.cost[row]), self.costs.person))
            if doubts.is_split[row]:
                against = percent(doubts.against[row])
                reasons.append(f"The agents disagree: {against} of the weight is for another label than {winner}")
            if doubts.is_distrusted[row]:
                reasons.append(f"{looks[doubts.leader[row]]} decides for {winner}, and has earned little trust")
            if doubts.is_novel[row]:
                reasons.append(f"Unlike the images it knows: {percent(novelty[row])} of them are less unusual")
        return by_image

    def _several(self, posterior: np.ndarray, left: np.ndarray, names: Sequence[str]) -> str:
        if self.sets is not None and not self.sets.excludes:
            coverage, needed = _percent(self.settings.coverage), images_needed(self.settings.coverage)
            wanted = "no number is enough" if needed is None else f"{needed} are needed"
            return f"{self.images} labelled {self.unit} cannot rule out any label at {coverage} coverage: {wanted}"
        places = sorted(np.flatnonzero(left).tolist(), key=lambda place: -posterior[place])
        listed = [names[place] for place in places[:LABELS_NAMED]]
        if len(places) > LABELS_NAMED:
            listed.append(f"{len(places) - LABELS_NAMED} more")
        return f"Could be {', '.join(listed[:-1])} or {listed[-1]}"

    def _weak(self, probability: float, least: float, winner: str) -> str:
        if least == np.inf:
            target, needed = _percent(self.settings.target), images_for(self.settings.target, self.settings.delta)
            wanted = "no number is enough" if needed is None else f"the surest {needed} must all be right"
            return f"Too few labelled {self.unit} to promise {target} accuracy: {wanted}"
        if probability < least:
            sure, wanted = _told_apart(probability, least)
            return f"Only {sure} sure; {wanted} is needed"
        coverage = _percent(self.settings.coverage)
        return f"Only {percent(probability)} sure; of the known images of {winner}, {coverage} were surer"


def _dear(label: str, cost: float, person: float) -> str:
    return f"A mistake is dearer than a question: {label} is expected to cost {cost:.3g}, asking a person {person:.3g}"


def _percent(share: float) -> str:
    """Return a share as it was set: 95 %, but also 99.9 %."""
    return f"{100 * share:.4g} %"


def _told_apart(smaller: float, greater: float) -> tuple[str, str]:
    """Two shares in percent, with as many digits as it takes for them to differ."""
    for digits in range(10):
        texts = f"{100 * smaller:.{digits}f} %", f"{100 * greater:.{digits}f} %"
        if texts[0] != texts[1] and (greater >= 1.0 or not texts[1].startswith("100")):
            break
    return texts
