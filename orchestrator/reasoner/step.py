"""The part of a reasoner in a run, by its role.

- explain: it writes the rationale of the conclusion; nothing else changes.
- advise: once the first looks are weighed, its answer is weighed with them, by the trust that it has earned.
- decide: after each round it names a label, and its last answer is final.

As an adviser or a decider it may also ask for second looks, at images that are not settled.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from consilience.agents import Agent, Budget, open_replies, reached
from consilience.core.diagnosis_record import Conclusion
from consilience.core.errors import AgentError
from consilience.core.prediction import Prediction, Stage
from consilience.core.settings.model_settings import Role
from consilience.core.settings.settings import Settings
from consilience.orchestrator.decision.case_summary import REASONER, CaseSummary
from consilience.orchestrator.decision.explain import in_its_words, not_used, person_needed
from consilience.orchestrator.decision.run_state import ReasonerUpdate, State
from consilience.orchestrator.decision.selective_asking import spent
from consilience.orchestrator.decision.weighing import Weighed, Weigher
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.reasoner.reasoner import Reasoner, ReasonerResult


def open_reasoner(panel: Panel, settings: Settings, budget: Budget) -> Reasoner | None:
    """Return the reasoner of the settings, to which `Panel.with_models` added the panel's; None: only rules.

    Raises:
        AgentError: it is to advise, and the panel has no trust in it.
        SettingsError: it would be asked otherwise than when its trust was earned.
    """
    chosen = settings.reasoner
    if chosen is None:
        return None
    if chosen.role == "advise":
        if panel.reasoner is None:
            raise AgentError(
                "the panel has not measured how good this reasoner's advice is: fit it with reasoner.role=advise first"
            )
        reached(panel.reasoner, chosen)
    return Reasoner(chosen, panel.task, open_replies(settings.replies), budget)


@dataclass(frozen=True)
class ReasonerStep:
    """The step of a run in which the reasoner reads what was weighed.

    Attributes:
        weigher: makes the conclusions that the reasoner reads.
        reasoner: None: rules alone write the rationale.
    """

    weigher: Weigher
    reasoner: Reasoner | None = None

    @property
    def role(self) -> Role | None:
        """Return the reasoner's role; None where there is only the rules."""
        return None if self.reasoner is None else self.reasoner.settings.role

    def is_due(self, number: int) -> bool:
        """Return whether the reasoner is asked once round `number` is weighed."""
        return self.role == "decide" or (self.role == "advise" and number == 1)

    async def read(self, state: State, agents: Mapping[str, Agent], deadline: float) -> list[ReasonerUpdate]:
        """Ask the reasoner about the rows that were weighed in this round.

        Args:
            state: of the run.
            agents: those that can be asked again, by name.
            deadline: `time.monotonic()` at which the reasoner's time is up in any case.
        """
        weighed = {row: state["weighed"][row] for row in state["rows"]}
        conclusions = self.weigher.conclude(state["looks"], weighed, state["evidence"], state["requests"])
        return await self._read(dict(zip(sorted(weighed), conclusions, strict=True)), state, agents, deadline)

    def adopted(
        self, state: State, readings: Sequence[ReasonerUpdate]
    ) -> tuple[list[dict[str, Any]], dict[int, Weighed]]:
        """Return an adviser's answers as looks, and the rows of this round weighed with them.

        A decider's answers are no looks: its rows stay as they were weighed.
        """
        weighed = {row: state["weighed"][row] for row in state["rows"]}
        if self.role != "advise":
            return [], weighed
        looks = [{"row": reading["row"], "prediction": reading["prediction"]} for reading in readings]
        novelty = {row: result["novelty"] for row, result in weighed.items()}
        return looks, self.weigher.weigh([*state["looks"], *looks], novelty, state["round"], weighed)

    async def conclude(self, state: State, agents: Mapping[str, Agent], deadline: float) -> list[Conclusion]:
        """Return the conclusions as `Weigher.conclude` does, with the reasoner's part in them."""
        if self.role == "decide":
            weighed = dict(state["weighed"])
            for reading in state["readings"]:
                weighed[reading["row"]] = self._decided(state["weighed"][reading["row"]], reading)
            return self.weigher.conclude(
                [*state["looks"], *state["readings"]], weighed, state["evidence"], state["requests"]
            )
        conclusions = self.weigher.conclude(state["looks"], state["weighed"], state["evidence"], state["requests"])
        if self.role == "explain":
            for reading in await self._read(dict(enumerate(conclusions)), state, agents, deadline):
                conclusions[reading["row"]] = _explained(
                    conclusions[reading["row"]], Prediction.from_dict(reading["prediction"])
                )
        return conclusions

    async def _read(
        self, conclusions: Mapping[int, Conclusion], state: State, agents: Mapping[str, Agent], deadline: float
    ) -> list[ReasonerUpdate]:
        if self.reasoner is None:
            return []
        trusts = [member.trust for member in self.weigher.members]
        summaries: dict[int, CaseSummary] = {}
        readings: dict[int, ReasonerResult] = {}
        for row, conclusion in conclusions.items():
            if not conclusion.posterior:  # no agent answered
                continue
            if cause := self._unaffordable(conclusion):
                readings[row] = ReasonerResult(Prediction(REASONER, error=cause))
                continue
            able = self.weigher.able_to_revise(conclusion.predictions, agents)
            again = () if self.role == "explain" else tuple(able)
            summaries[row] = CaseSummary(state["identities"][row], conclusion, state["evidence"][row], trusts, again)
        limit = self.weigher.policy.settings.agent_timeout_seconds * max(len(summaries), 1)
        seconds = min(limit, max(deadline - time.monotonic(), 0.0))
        readings |= zip(summaries, await self.reasoner.read([*summaries.values()], seconds), strict=True)
        stage: Stage = "second" if state["round"] > 1 and self.role == "decide" else "first"
        return [
            {
                "row": row,
                "prediction": replace(reading.prediction, stage=stage).to_dict(),
                "ask_again": dict(reading.ask_again),
            }
            for row, reading in sorted(readings.items())
        ]

    def _unaffordable(self, conclusion: Conclusion) -> str:
        """Return why the budget of a diagnosis leaves nothing for the reasoner; empty if it does."""
        budget, taken = self.weigher.policy.settings.max_cost_usd, spent(conclusion.predictions)
        expected = next((member.cost_usd for member in self.weigher.members if member.agent == REASONER), 0.0)
        if budget is None or taken + expected < budget or self.reasoner is None or self.reasoner.settings.is_free:
            return ""
        return f"{taken:.2g} of the {budget:g} US dollars of policy.max_cost_usd are spent, and it could cost more"

    def _decided(self, result: Weighed, reading: ReasonerUpdate) -> Weighed:
        """Return the result with the reasoner's label and probability; the other labels share the rest as before.

        The policy judges it like any other: a decision against the weight of the agents is referred.
        """
        prediction, names, looks = reading["prediction"], self.weigher.task.names, self.weigher.names
        if prediction["error"] is not None:
            return result
        label, probability = prediction["label"], prediction["confidence"]
        posterior, place = np.array(result["posterior"]) + 1e-12, names.index(label)
        posterior[place] = 0.0
        posterior *= (1.0 - probability) / posterior.sum()
        posterior[place] = probability
        weights = np.array([[result["weights"].get(look, 0.0) for look in looks]])
        calibrated = self.weigher.calibrated(result)[:, None]
        [reasons] = self.weigher.policy.reasons(posterior[None], calibrated, weights, names, looks, [result["novelty"]])
        [left] = self.weigher.policy.prediction_sets(posterior[None], calibrated, names, looks)
        if (first := names[posterior.argmax()]) != label:
            left = [label, *(name for name in left if name != label)]
            reasons = [f"The reasoner chose {label}, but {first} is more probable", *reasons]
        if result["unjudgeable"]:
            reasons = [result["unjudgeable"], *reasons]
        costs = self.weigher.policy.costs
        return {
            **result,
            "label": label,
            "posterior": posterior.tolist(),
            "prediction_set": left,
            "expected_cost": None if costs is None else float(costs.expected(posterior[None])[0, place]),
            "reasons": reasons,
        }


def _explained(conclusion: Conclusion, prediction: Prediction) -> Conclusion:
    """Return the conclusion in the reasoner's words, marked as such; in those of the rules, if it failed."""
    failed = prediction.error is not None
    if failed:
        rationale = f"{conclusion.rationale} {not_used(prediction.error or '')}"
    else:
        rationale = " ".join([in_its_words(prediction.rationale), *person_needed(conclusion)])
    return replace(conclusion, rationale=rationale, cost_usd=conclusion.cost_usd + spent([prediction]))
