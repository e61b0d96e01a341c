"""The panel that answers teach whose truth is not known: what agents are worth is estimated from how far they agree."""

from __future__ import annotations

import numpy as np

from consilience.core.trust import Trust
from consilience.orchestrator.answers.given_answers import answer_identity
from consilience.orchestrator.answers.unlabelled_answers import UnlabelledAnswers
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.ensemble.agreement import Agreement, agreed_labels, agreement_beyond_chance
from consilience.orchestrator.ensemble.members import LEFT_OUT, AgentChoice, Member
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.panel.encoder_spec import EncoderRecord
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.no_encoder import NoEncoder
from consilience.retrieval.memory.labelled_images import LabelledImages

NOBODY = f"{LEFT_OUT}: it answered no image that another agent answered, too"


def panel_of_agreement(answers: UnlabelledAnswers) -> Panel:
    """Return the panel that answers without truth teach, not written."""
    agreed, names = agreed_labels(answers.raw), answers.task.names
    answered = np.isfinite(answers.raw).all(axis=2)
    shared = answered & (answered.sum(axis=0) > 1)
    alpha, low = agreement_beyond_chance(answers.raw)
    members = [
        Member(agent, "first", calibrator, _estimated(agent, accuracy, images))
        for agent, calibrator, accuracy, images in zip(
            answers.agents, agreed.calibrators, agreed.accuracy.tolist(), shared.sum(axis=1).tolist(), strict=True
        )
    ]
    confusion = {
        agent: {true: dict(zip(names, row, strict=True)) for true, row in zip(names, matrix, strict=True)}
        for agent, matrix in zip(answers.agents, agreed.confusion.round(4).tolist(), strict=True)
    }
    nothing = np.empty((0, len(names)))
    return Panel(
        task=answers.task,
        encoder=EncoderRecord.of(NoEncoder()),
        labelled_images=LabelledImages((), (), (), np.empty((0, 0), np.float32)),
        heads=(),
        agents=answers.agents,
        members=tuple(members),
        fusion=agreed.fusion,
        calibration_set=CalibrationSet.of(nothing, np.empty(0, np.intp)),
        predictions=LabelledPredictions.of_fit((), np.empty(0, np.intp), [nothing for _ in members]),
        choices=tuple(AgentChoice(agent, False, NOBODY) for agent in answers.left_out),
        unlabelled_ids=frozenset(map(answer_identity, answers.names)),
        agreement=Agreement(int(shared.any(axis=0).sum()), alpha, low, confusion),
    )


def _estimated(agent: str, accuracy: float, images: int) -> Trust:
    return Trust(agent, "first", n=0, ece=0.0, ocr=0.0, ccc=0.0, accuracy=accuracy, estimated_on=images)
