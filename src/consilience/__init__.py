"""Consilience: independent vision agents, weighed by the trust that each has earned.

>>> import consilience
>>> diagnosis = consilience.diagnose("leaf.jpg", panel="panel/")      # doctest: +SKIP
>>> diagnosis.label, diagnosis.probability, diagnosis.verdict         # doctest: +SKIP
('rust', 0.987, 'confident')

The public names are resolved on first use, so that importing the package is quick.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consilience.core.diagnosis import Diagnosis, FailedImage
    from consilience.core.errors import ConsilienceError
    from consilience.core.evidence import Evidence, Neighbour
    from consilience.core.images import Image, load_image
    from consilience.core.prediction import Prediction
    from consilience.core.settings.settings import Settings, load_settings
    from consilience.core.sources.answer_arrays import AnswerArrays
    from consilience.core.task import Task
    from consilience.core.trust import Trust
    from consilience.evals.evaluation import Evaluation, evaluate
    from consilience.orchestrator.answers.fit_answers import fit_answers
    from consilience.orchestrator.diagnoser import Diagnoser, diagnose
    from consilience.orchestrator.fitting.fit import FitReport, fit
    from consilience.orchestrator.fitting.update import add, remove

# ONNX Runtime would report its use to its makers, from its import on, and keep an identifier of this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOME = {
    "AnswerArrays": "consilience.core.sources.answer_arrays",
    "ConsilienceError": "consilience.core.errors",
    "Diagnoser": "consilience.orchestrator.diagnoser",
    "Diagnosis": "consilience.core.diagnosis",
    "Evaluation": "consilience.evals.evaluation",
    "Evidence": "consilience.core.evidence",
    "FailedImage": "consilience.core.diagnosis",
    "FitReport": "consilience.orchestrator.fitting.fit",
    "Image": "consilience.core.images",
    "Neighbour": "consilience.core.evidence",
    "Prediction": "consilience.core.prediction",
    "Settings": "consilience.core.settings.settings",
    "Task": "consilience.core.task",
    "Trust": "consilience.core.trust",
    "add": "consilience.orchestrator.fitting.update",
    "diagnose": "consilience.orchestrator.diagnoser",
    "evaluate": "consilience.evals.evaluation",
    "fit": "consilience.orchestrator.fitting.fit",
    "fit_answers": "consilience.orchestrator.answers.fit_answers",
    "load_image": "consilience.core.images",
    "load_settings": "consilience.core.settings.settings",
    "remove": "consilience.orchestrator.fitting.update",
}

__all__ = [
    "AnswerArrays",
    "ConsilienceError",
    "Diagnoser",
    "Diagnosis",
    "Evaluation",
    "Evidence",
    "FailedImage",
    "FitReport",
    "Image",
    "Neighbour",
    "Prediction",
    "Settings",
    "Task",
    "Trust",
    "add",
    "diagnose",
    "evaluate",
    "fit",
    "fit_answers",
    "load_image",
    "load_settings",
    "remove",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'consilience' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
