"""What a diagnosis would be without some of its agents: its recorded predictions, weighed anew."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import PanelError
from consilience.core.prediction import look_name
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.ensemble.silence import unsaid


def without(diagnosis: Diagnosis, agents: Collection[str], weigher: Weigher) -> Diagnosis | None:
    """Return the diagnosis as the weigher concludes it from the calibrated predictions of all but `agents`.

    Nobody is asked again, and no image is looked at. With no `agents` it is the diagnosis as it was, unless the panel
    has learned since, or a reasoner decided.

    Returns:
        None if nobody is left who answered.

    Raises:
        PanelError: the panel has other labels or agents by now than the diagnosis.
    """
    names, looks = weigher.task.names, {name: index for index, name in enumerate(weigher.names)}
    if tuple(diagnosis.posterior) != names:
        raise PanelError("the panel has other labels by now than when it made this diagnosis: diagnose the image anew")
    kept = tuple(prediction for prediction in diagnosis.predictions if prediction.agent not in agents)
    calibrated = np.full((len(looks), 1, len(names)), np.nan)
    for prediction in kept:
        if prediction.calibrated is None and not prediction.abstained:
            continue
        if (index := looks.get(look_name(prediction.agent, prediction.stage))) is None:
            raise PanelError(
                f"the panel does not know the agent '{prediction.agent}' any more: diagnose the image anew"
            )
        if prediction.calibrated is None:
            calibrated[index, 0] = unsaid(prediction.abstained, prediction.stage)
        else:
            calibrated[index, 0] = [prediction.calibrated[name] for name in names]
    if not np.isfinite(calibrated).any():
        return None
    novelty = {0: math.nan if diagnosis.novelty is None else diagnosis.novelty}
    signs, fused = {0: diagnosis.novelty_signs}, weigher.fusion.posterior(calibrated)
    weighed = weigher.weighed(calibrated, *fused, novelty, diagnosis.rounds, signs, {0: diagnosis.unjudgeable})
    [concluded] = weigher.conclude(
        [{"row": 0, "prediction": prediction.to_dict()} for prediction in kept], weighed, [diagnosis.evidence.to_dict()]
    )
    unchanged = {"first_posterior": None, "cost_usd": diagnosis.cost_usd}
    trust = tuple(trust for trust in diagnosis.trust if trust.agent not in agents)
    return replace(diagnosis, **concluded.parts() | unchanged, trust=trust)
