"""What the orchestrator does with predictions: calibrate, fuse, settle, decide whom to ask again, conclude.

It reads records and figures, never images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from consilience.agents import Agent
from consilience.orchestrator.fusion import Fusion
from consilience.orchestrator.panel import Witness
from consilience.orchestrator.policy import Policy
from consilience.orchestrator.rules import explain
from consilience.prediction import look_name
from consilience.task import Task


class Weighed(TypedDict):
    """The result of one round for one image; empty posterior if no agent answered."""

    posterior: list[float]
    calibrated: dict[str, list[float]]  # by witness
    weights: dict[str, float]  # by witness
    reasons: list[str]
    round: int


Looks = Sequence[Mapping[str, Any]]
"""{"row": ..., "prediction": as Prediction.to_dict}, in the order in which they were taken."""


@dataclass(frozen=True)
class Weigher:
    """The non-visual part of the orchestrator.

    Attributes:
        witnesses: every look that can be weighed, in the order of `fusion`.
        policy: settles.
    """

    task: Task
    witnesses: tuple[Witness, ...]
    fusion: Fusion
    policy: Policy

    @property
    def names(self) -> list[str]:
        return [look_name(witness.agent, witness.stage) for witness in self.witnesses]

    def weigh(self, looks: Looks, rows: Sequence[int], novelty: Sequence[float], number: int) -> dict[int, Weighed]:
        """Weigh the predictions for some rows in round `number`. A second look takes the place of the first."""
        raw = self._heard(looks, rows)
        calibrated = np.full_like(raw, np.nan)
        for index, witness in enumerate(self.witnesses):
            answered = np.isfinite(raw[index]).all(axis=1)
            if answered.any():
                calibrated[index, answered] = witness.calibrator(raw[index, answered])
        posterior, weights = self.fusion.posterior(calibrated)
        names, heard = self.names, np.isfinite(calibrated).all(axis=2)
        reasons = self.policy.reasons(posterior, calibrated, weights, self.task.names, names, novelty)
        results: dict[int, Weighed] = {}
        for place, row in enumerate(rows):
            here = np.flatnonzero(heard[:, place])
            results[row] = {
                "posterior": posterior[place].tolist() if len(here) else [],
                "calibrated": {names[index]: calibrated[index, place].tolist() for index in here},
                "weights": {names[index]: float(weights[place, index]) for index in here},
                "reasons": reasons[place],
                "round": number,
            }
        return results

    def whom_to_ask_again(
        self, looks: Looks, rows: Sequence[int], agents: Mapping[str, Agent]
    ) -> dict[str, tuple[list[int], list[dict[str, Any]]]]:
        """By agent: the rows to look at again, and its first predictions for them. Nobody is asked a third time."""
        wish = self.policy.settings.second_look
        if wish == "never":
            return {}
        wanted = set(rows)
        asked = {
            (look["prediction"]["agent"], look["row"]) for look in looks if look["prediction"]["stage"] == "second"
        }
        whom: dict[str, tuple[list[int], list[dict[str, Any]]]] = {}
        for look in looks:
            row, first = look["row"], look["prediction"]
            name = first["agent"]
            if row not in wanted or (name, row) in asked or first["error"] is not None:
                continue
            if agents[name].looks_again and (wish == "always" or self._can_help(name)):
                asked_rows, answers = whom.setdefault(name, ([], []))
                asked_rows.append(row)
                answers.append(first)
        return whom

    def conclude(
        self, looks: Looks, weighed: Mapping[int, Weighed], evidence: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """For each image what its `Diagnosis` says, as plain data; only "predictions" where no agent answered."""
        by_row: dict[int, list[dict[str, Any]]] = {row: [] for row in weighed}
        for look in looks:
            by_row[look["row"]].append(look["prediction"])
        return [self._conclusion(weighed[row], by_row[row], evidence[row]) for row in sorted(weighed)]

    def _heard(self, looks: Looks, rows: Sequence[int]) -> np.ndarray:
        """Raw probabilities (a, n, c); NaN where a look was not taken, failed, abstained or was replaced."""
        place_of_row = {row: place for place, row in enumerate(rows)}
        index_of = {(witness.agent, witness.stage): index for index, witness in enumerate(self.witnesses)}
        raw = np.full((len(self.witnesses), len(rows), len(self.task.names)), np.nan)
        for look in looks:
            prediction, place = look["prediction"], place_of_row.get(look["row"])
            index = index_of.get((prediction["agent"], prediction["stage"]))
            if place is None or index is None or prediction["probabilities"] is None:
                continue
            raw[index, place] = list(prediction["probabilities"].values())
            if prediction["stage"] == "second" and (first := index_of.get((prediction["agent"], "first"))) is not None:
                raw[first, place] = np.nan
        return raw

    def _can_help(self, agent: str) -> bool:
        """Whether the agent's second looks were right more often than its first ones on labelled images."""
        accuracy = {
            witness.stage: witness.trust.accuracy or 0.0 for witness in self.witnesses if witness.agent == agent
        }
        return accuracy.get("second", 0.0) > accuracy.get("first", 0.0)

    def _conclusion(
        self, result: Weighed, predictions: list[dict[str, Any]], evidence: Mapping[str, Any]
    ) -> dict[str, Any]:
        names = self.task.names
        said = []
        for prediction in predictions:
            who = look_name(prediction["agent"], prediction["stage"])
            calibrated = result["calibrated"].get(who)
            said.append(
                {
                    **prediction,
                    "calibrated": None if calibrated is None else dict(zip(names, calibrated, strict=True)),
                    "weight": result["weights"].get(who, 0.0),
                }
            )
        if not result["posterior"]:
            return {"predictions": said}
        posterior = dict(zip(names, result["posterior"], strict=True))
        label = max(posterior, key=posterior.__getitem__)
        conclusion = {
            "label": label,
            "posterior": posterior,
            "prediction_set": self._prediction_set(posterior),
            "verdict": "refer" if result["reasons"] else "confident",
            "reasons": result["reasons"],
            "predictions": said,
            "rounds": result["round"],
            "cost_usd": sum(prediction["cost_usd"] for prediction in predictions),
        }
        conclusion["rationale"] = explain(conclusion, evidence, [witness.trust for witness in self.witnesses])
        return conclusion

    def _prediction_set(self, posterior: Mapping[str, float]) -> list[str]:
        """The fewest labels whose posterior together reaches the coverage, most probable first."""
        chosen, mass = [], 0.0
        for label in sorted(posterior, key=posterior.__getitem__, reverse=True):
            chosen.append(label)
            mass += posterior[label]
            if mass >= self.policy.settings.coverage:
                break
        return chosen
