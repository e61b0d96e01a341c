"""What the orchestrator does with predictions: calibrate, fuse, settle, decide whom to ask again, conclude.

It reads records and figures, never images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np

from consilience.agents import Agent
from consilience.core.diagnosis_record import Conclusion
from consilience.core.prediction import Prediction, Stage, look_name
from consilience.core.task import Task
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.decision.explain import explain
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.second_look import NO_LABEL, SecondLookAnswers, ValueOfInformation
from consilience.orchestrator.decision.selective_asking import Asking, spent
from consilience.orchestrator.ensemble.calibration import calibrate_all
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.silence import SILENT, silent, unsaid
from consilience.orchestrator.novelty.novelty_score import Novelty, of_words


class Weighed(TypedDict):
    """The result of one round for one image; empty posterior and label if no agent answered."""

    label: str
    posterior: list[float]
    first_posterior: list[float]  # after the first looks
    calibrated: dict[str, list[float]]  # by member
    silent: list[str]  # members that looked and named no label
    weights: dict[str, float]  # by member
    prediction_set: list[str]  # most probable first
    expected_cost: float | None  # of the label, where costs are set
    novelty: float  # NaN where nothing is known of the image itself
    signs: dict[str, float]  # by sign of novelty, share of known images that are less novel
    is_novel: bool
    unjudgeable: str  # why the image cannot be judged; empty if it can
    reasons: list[str]
    round: int


class LookRequest(TypedDict):
    """Who is to look again at an image, and why."""

    row: int
    agent: str
    round: int  # after which it is asked
    better: float | None  # chance that the diagnosis gets better; None where it is asked whether that helps or not
    worse: float | None
    why: str  # in a reasoner's words, where it wished for the look


Looks = Sequence[Mapping[str, Any]]
"""{"row": ..., "prediction": as Prediction.to_dict}, in the order in which they were taken."""


@dataclass(frozen=True)
class Weigher:
    """The non-visual part of the orchestrator: calibrates, fuses, settles, decides whom to ask again, concludes.

    Attributes:
        members: every look that can be weighed, in the order of `fusion`.
        policy: settles.
        novelty: how novel an image is, beside the labelled ones; None: only the distance to its neighbours tells.
        second_looks: those at labelled images, from which it is foreseen what one more will gain.
    """

    task: Task
    members: tuple[Member, ...]
    fusion: Fusion
    policy: Policy
    second_looks: SecondLookAnswers = field(default_factory=SecondLookAnswers.none)
    novelty: Novelty | None = None

    @property
    def names(self) -> list[str]:
        """Return the name of each member's look, in the order of `members`."""
        return [look_name(member.agent, member.stage) for member in self.members]

    @property
    def asking(self) -> Asking:
        """Return what decides whom to ask, with what each agent's looks cost."""
        looks = [(member.agent, member.stage) for member in self.members]
        costs: dict[Stage, dict[str, float]] = {"first": {}, "second": {}}
        for member in self.members:
            costs[member.stage][member.agent] = member.cost_usd
        return Asking(
            self.policy.settings, costs, ValueOfInformation(self.second_looks, looks, self.fusion, self.policy)
        )

    def weigh(
        self,
        looks: Looks,
        novelty: Mapping[int, float],
        number: int,
        before: Mapping[int, Weighed] = MappingProxyType({}),
        far: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
        unjudgeable: Mapping[int, str] = MappingProxyType({}),
    ) -> dict[int, Weighed]:
        """Weigh the predictions for the rows of `novelty` in round `number`. A second look replaces the first.

        Args:
            novelty: by row, as the memory tells it: what counts where the panel knows no better.
            before: the results of the round before. What it found of novelty stays: that is judged by first looks.
            far: by row, the signs of novelty in the image's vector (`NoveltyReference.signs`).
            unjudgeable: by row, why an image cannot be judged; of those judged before, it is known.
        """
        rows = list(novelty)
        calibrators = [member.calibrator for member in self.members]
        calibrated = calibrate_all(self._raw_probabilities(looks, rows), calibrators)
        novelty, signs = self._novelty(calibrated, novelty, before, far)
        unjudgeable = {**unjudgeable, **{row: result["unjudgeable"] for row, result in before.items()}}
        results = self.weighed(calibrated, *self.fusion.posterior(calibrated), novelty, number, signs, unjudgeable)
        for row in results.keys() & before.keys():
            results[row]["first_posterior"] = before[row]["first_posterior"]
        return results

    def weighed(
        self,
        calibrated: np.ndarray,
        posterior: np.ndarray,
        weights: np.ndarray,
        novelty: Mapping[int, float],
        number: int,
        signs: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
        unjudgeable: Mapping[int, str] = MappingProxyType({}),
    ) -> dict[int, Weighed]:
        """Return the results of round `number` for the n rows of `novelty`.

        Args:
            calibrated: (a, n, c), rows of NaN or SILENT where a member named nothing.
            posterior: (n, c). weights: (n, a).
        """
        names, labels, answered = self.names, self.task.names, np.isfinite(calibrated).all(axis=2)
        abstained = silent(calibrated)
        reasons = self.policy.reasons(posterior, calibrated, weights, labels, names, list(novelty.values()))
        named, shares = self.policy.named(posterior).tolist(), posterior.tolist()
        costs = self.policy.expected_cost(posterior)
        words, counts = calibrated.tolist(), weights.tolist()
        sets = self.policy.prediction_sets(posterior, calibrated, labels, names)
        results: dict[int, Weighed] = {}
        for place, row in enumerate(novelty):
            here, why = np.flatnonzero(answered[:, place]).tolist(), unjudgeable.get(row, "")
            results[row] = {
                "label": labels[named[place]] if here else "",
                "posterior": shares[place] if here else [],
                "first_posterior": shares[place] if here else [],
                "calibrated": {names[index]: words[index][place] for index in here},
                "silent": [names[index] for index in np.flatnonzero(abstained[:, place])],
                "weights": {names[index]: counts[place][index] for index in here},
                "prediction_set": sets[place] if here else [],
                "expected_cost": float(costs[place]) if here and costs is not None else None,
                "novelty": novelty[row],
                "signs": dict(signs.get(row, {})),
                "is_novel": novelty[row] > self.policy.settings.max_novelty,
                "unjudgeable": why,
                "reasons": [*([why] if why else []), *reasons[place]],
                "round": number,
            }
        return results

    def whom_to_ask_again(
        self,
        looks: Looks,
        weighed: Mapping[int, Weighed],
        agents: Mapping[str, Agent],
        wishes: Mapping[int, Mapping[str, str]] = MappingProxyType({}),
    ) -> list[LookRequest]:
        """Return who looks again at which of the weighed rows that are not settled: not at what cannot be judged.

        Args:
            wishes: by row and agent, why a reasoner wants it to look again.
        """
        unsettled: dict[int, list[Prediction]] = {
            row: [] for row, result in weighed.items() if result["reasons"] and not result["unjudgeable"]
        }
        for look in looks:
            if look["row"] in unsettled:
                unsettled[look["row"]].append(Prediction.from_dict(look["prediction"]))
        asking, requests = self.asking, list[LookRequest]()
        for row, predictions in unsettled.items():
            able, result, wished = self.able_to_revise(predictions, agents), weighed[row], wishes.get(row, {})
            gains = asking.again(
                able,
                self.calibrated(result),
                np.array(result["posterior"]),
                result["novelty"],
                spent(predictions),
                wished,
            )
            for agent, gain in gains.items():
                better, worse = (None, None) if gain is None else (gain.better, gain.worse)
                requests.append(
                    {
                        "row": row,
                        "agent": agent,
                        "round": result["round"],
                        "better": better,
                        "worse": worse,
                        "why": wished.get(agent, ""),
                    }
                )
        return requests

    def able_to_revise(self, predictions: Sequence[Prediction], agents: Mapping[str, Agent]) -> dict[str, int]:
        """Return who can look again, with the place of the label that its first look named, NO_LABEL if none.

        Nobody looks a third time, and nobody whose first look failed.
        """
        place = {label: place for place, label in enumerate(self.task.names)}
        twice = {p.agent for p in predictions if p.stage == "second"}
        return {
            p.agent: NO_LABEL if p.label is None else place.get(p.label, NO_LABEL)
            for p in predictions
            if p.agent in agents and p.agent not in twice and p.error is None and agents[p.agent].can_revise
        }

    def conclude(
        self,
        looks: Looks,
        weighed: Mapping[int, Weighed],
        evidence: Sequence[Mapping[str, Any]],
        requests: Sequence[LookRequest] = (),
    ) -> list[Conclusion]:
        """Return the conclusion for each weighed image, in the order of the rows."""
        predictions: dict[int, list[Mapping[str, Any]]] = {row: [] for row in weighed}
        asked: dict[int, list[LookRequest]] = {row: [] for row in weighed}
        for look in looks:
            if look["row"] in predictions:
                predictions[look["row"]].append(look["prediction"])
        for request in requests:
            if request["row"] in asked:
                asked[request["row"]].append(request)
        return [self._conclusion(weighed[row], predictions[row], evidence[row], asked[row]) for row in sorted(weighed)]

    def _novelty(
        self,
        calibrated: np.ndarray,
        distance_ranks: Mapping[int, float],
        before: Mapping[int, Weighed],
        far: Mapping[int, Mapping[str, float]],
    ) -> tuple[dict[int, float], dict[int, Mapping[str, float]]]:
        """By row, in the order of `distance_ranks`, how novel it is, and what each sign says."""
        novelty: dict[int, float] = dict(distance_ranks)
        signs: dict[int, Mapping[str, float]] = {row: before[row]["signs"] for row in distance_ranks if row in before}
        novelty |= {row: before[row]["novelty"] for row in signs}
        fresh = {row: place for place, row in enumerate(distance_ranks) if row in far and row not in before}
        if self.novelty is None or not fresh:
            return novelty, signs
        first = [member.stage == "first" and member.agent != REASONER for member in self.members]
        by_sign = {name: np.array([far[row][name] for row in fresh]) for name in next(iter(far.values()))}
        score, shares = self.novelty.of(of_words(calibrated[first][:, [*fresh.values()]]) | by_sign)
        by_row = zip(*(values.tolist() for values in shares.values()), strict=True)
        signs |= {row: dict(zip(shares, values, strict=True)) for row, values in zip(fresh, by_row, strict=True)}
        return novelty | dict(zip(fresh, score.tolist(), strict=True)), signs

    def _raw_probabilities(self, looks: Looks, rows: Sequence[int]) -> np.ndarray:
        """Raw probabilities (a, n, c): SILENT where a look abstained, NaN where it was not taken or failed."""
        place_of_row = {row: place for place, row in enumerate(rows)}
        index_of = {(member.agent, member.stage): index for index, member in enumerate(self.members)}
        raw = np.full((len(self.members), len(rows), len(self.task.names)), np.nan)
        for look in looks:
            prediction, place = look["prediction"], place_of_row.get(look["row"])
            index = index_of.get((prediction["agent"], prediction["stage"]))
            if place is None or index is None:
                continue
            if prediction["probabilities"] is None:
                raw[index, place] = unsaid(prediction["abstained"], prediction["stage"])
                continue
            raw[index, place] = list(prediction["probabilities"].values())
            if prediction["stage"] == "second" and (first := index_of.get((prediction["agent"], "first"))) is not None:
                raw[first, place] = np.nan
        return raw

    def calibrated(self, result: Weighed) -> np.ndarray:
        """Return the calibrated predictions of one image, (a, c), rows of NaN or SILENT where nothing was named."""
        none = len(self.task.names)
        rows = {name: [SILENT] * none for name in result["silent"]} | result["calibrated"]
        return np.array([rows.get(name, [np.nan] * none) for name in self.names])

    def _conclusion(
        self,
        result: Weighed,
        looks: Sequence[Mapping[str, Any]],
        evidence: Mapping[str, Any],
        requests: Sequence[LookRequest],
    ) -> Conclusion:
        """Return the conclusion: its one producer; `looks` are predictions as plain data."""
        names = self.task.names
        predictions = []
        for prediction in looks:
            look = look_name(prediction["agent"], prediction["stage"])
            calibrated = result["calibrated"].get(look)
            by_label = None if calibrated is None else dict(zip(names, calibrated, strict=True))
            weight = result["weights"].get(look, 0.0)
            predictions.append(Prediction.from_dict({**prediction, "calibrated": by_label, "weight": weight}))
        first = result["first_posterior"] if result["round"] > 1 else []
        conclusion = Conclusion(
            label=result["label"],
            posterior=dict(zip(names, result["posterior"], strict=True)) if result["posterior"] else {},
            first_posterior=dict(zip(names, first, strict=True)) if first else None,
            prediction_set=tuple(result["prediction_set"]),
            verdict="refer" if result["reasons"] else "confident",
            reasons=tuple(result["reasons"]),
            predictions=tuple(predictions),
            expected_cost=result["expected_cost"],
            novelty=None if math.isnan(result["novelty"]) else result["novelty"],
            novelty_signs=result["signs"],
            is_novel=result["is_novel"],
            unjudgeable=result["unjudgeable"],
            rationale="",
            rounds=result["round"],
            cost_usd=spent(predictions),
        )
        if not conclusion.posterior:
            return conclusion
        trusts = [member.trust for member in self.members]
        return replace(conclusion, rationale=explain(conclusion, evidence, trusts, requests))
