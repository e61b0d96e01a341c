"""How a reasoner that advises earns its trust: it reads the records of labelled images, all of them out of fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from consilience.agents import Agent, LabelledFeatures
from consilience.core.errors import AgentError
from consilience.core.prediction import Prediction
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import PolicySettings
from consilience.core.task import Task
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.fitting.collect import BATCH, MemberAnswers
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, first_looks, learned
from consilience.orchestrator.reasoner.reasoner import Reasoner
from consilience.orchestrator.reasoner.step import ReasonerStep
from consilience.orchestrator.runtime.calls import run_sync
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages

if TYPE_CHECKING:
    from consilience.orchestrator.decision.run_state import State


def with_advice(
    fitted: FittedEnsemble,
    reasoner: Reasoner,
    task: Task,
    labelled_images: LabelledImages,
    data: LabelledFeatures,
    others: Sequence[Agent],
    *,
    neighbours: int,
    policy: PolicySettings,
    progress: Progress = quiet,
) -> FittedEnsemble:
    """What the labelled images teach if a reasoner advises as well.

    Args:
        fitted: what they taught without it. The others are as for `fit_agents`.

    Raises:
        AgentError: it failed on all of the first records, or on too many to be judged.
        BudgetSpentError: its answers would cost more than they may.
    """
    advice = run_sync(_advice(fitted, reasoner, task, labelled_images, data, others, neighbours, policy, progress))
    looks = (*fitted.looks, MemberAnswers.of(REASONER, "first", advice, task))
    return learned(fitted.heads, looks, task, data, fitted.folds)


async def _advice(
    fitted: FittedEnsemble,
    reasoner: Reasoner,
    task: Task,
    labelled_images: LabelledImages,
    data: LabelledFeatures,
    others: Sequence[Agent],
    neighbours: int,
    policy: PolicySettings,
    progress: Progress,
) -> list[Prediction]:
    unbounded = Policy.chosen(policy.model_copy(update={"max_cost_usd": None}), fitted.calibration_set)
    weigher = Weigher(task, fitted.members, fitted.fusion, unbounded)
    memory = ImageMemory(labelled_images, task.names, ExactIndex(labelled_images))
    first_predictions = first_looks(fitted.members, fitted.calibrated)
    first = [look for look in fitted.looks if look.stage == "first"]
    advice: list[Prediction] = []
    for start in range(0, len(labelled_images), BATCH):
        part = range(start, min(start + BATCH, len(labelled_images)))
        nearest = memory.query(data.features[part], neighbours, [labelled_images.ids[row] for row in part])
        evidence = memory.evidence(nearest)
        novelty = dict(enumerate(fitted.how_novel[part].tolist()))
        state: State = {
            "identities": [labelled_images.ids[row] for row in part],
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
        readings = await ReasonerStep(weigher, reasoner).read(state, {agent.name: agent for agent in others}, math.inf)
        read = {reading["row"]: Prediction.from_dict(reading["prediction"]) for reading in readings}
        if start == 0 and all(p.error is not None for p in read.values()):  # it will not do better on the others
            causes = [p.error for p in read.values()] or ["no agent answered"]
            raise AgentError(f"the reasoner failed on each of the first records: {causes[0]}")
        advice += [read.get(row, Prediction(REASONER, error="no agent answered")) for row in novelty]
        progress("reading records of labelled images", part.stop, len(labelled_images))
    return advice
