"""How a reasoner that advises earns its trust: it reads the case summaries of labelled images, out of fold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from consilience.core.errors import AgentError
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.fitting.collect import BATCH, MemberAnswers
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, first_looks, fit_ensemble
from consilience.orchestrator.reasoner.reasoner import Reasoner
from consilience.orchestrator.reasoner.step import ReasonerStep
from consilience.orchestrator.runtime.calls import run_sync
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.index import ExactIndex

if TYPE_CHECKING:
    from consilience.orchestrator.decision.run_state import State


def with_advice(
    fitted: FittedEnsemble, context: FitContext, reasoner: Reasoner, policy: PolicySettings
) -> FittedEnsemble:
    """Return what the labelled images teach if a reasoner advises as well.

    Args:
        fitted: what they taught without it.

    Raises:
        AgentError: the reasoner failed on all of the first images, or on too many to be judged.
        BudgetSpentError: its answers would cost more than they may.
    """
    advice = run_sync(_advice(fitted, context, reasoner, policy))
    looks = (*fitted.looks, MemberAnswers.of(REASONER, "first", advice, context.task))
    return fit_ensemble(fitted.heads, looks, context.task, context.data, fitted.folds)


async def _advice(
    fitted: FittedEnsemble, context: FitContext, reasoner: Reasoner, policy: PolicySettings
) -> list[Prediction]:
    """Return what the reasoner says of each labelled image."""
    task, labelled_images = context.task, context.labelled_images
    agents = {agent.name: agent for agent in context.others}
    unbounded = Policy.chosen(policy.model_copy(update={"max_cost_usd": None}), fitted.calibration_set)
    weigher = Weigher(task, fitted.members, fitted.fusion, unbounded)
    memory = ImageMemory(labelled_images, task.names, ExactIndex(labelled_images))
    first_predictions = first_looks(fitted.members, fitted.calibrated)
    first = [look for look in fitted.looks if look.stage == "first"]
    advice: list[Prediction] = []
    for start in range(0, len(labelled_images), BATCH):
        part = range(start, min(start + BATCH, len(labelled_images)))
        identities = [labelled_images.ids[row] for row in part]
        nearest = memory.query(context.data.features[part], context.neighbours, identities)
        evidence = memory.evidence(nearest)
        novelty = dict(enumerate(fitted.how_novel[part].tolist()))
        state: State = {
            "identities": identities,
            "evidence": evidence,
            "looks": [
                {"row": place, "prediction": look.prediction(row, task).to_dict()}
                for look in first
                for place, row in enumerate(part)
            ],
            "weighed": weigher.weighed(
                first_predictions[:, part], fitted.posterior[part], fitted.weights[part], novelty, 1
            ),
            "requests": [],
            "rows": [*novelty],
            "round": 1,
        }
        readings = await ReasonerStep(weigher, reasoner).read(state, agents, math.inf)
        read = {reading["row"]: Prediction.from_dict(reading["prediction"]) for reading in readings}
        if start == 0 and all(p.error is not None for p in read.values()):  # it will not do better on the others
            causes = [p.error for p in read.values()] or ["no agent answered"]
            raise AgentError(f"the reasoner failed on each of the first images: {causes[0]}")
        advice += [read.get(row, Prediction(REASONER, error="no agent answered")) for row in novelty]
        context.progress("asking the reasoner about labelled images", part.stop, len(labelled_images))
    return advice
