"""Consilience: independent vision agents, weighed by the trust that each has earned.

>>> import consilience
>>> diagnosis = consilience.diagnose("leaf.jpg", panel="panel/")      # doctest: +SKIP
>>> diagnosis.label, diagnosis.probability, diagnosis.verdict         # doctest: +SKIP
('rust', 0.987, 'confident')

The public names are resolved on first use, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consilience.diagnosis import Diagnosis, FailedImage
    from consilience.errors import ConsilienceError
    from consilience.evals.evaluation import Evaluation, evaluate
    from consilience.evidence import Evidence, Neighbour
    from consilience.images import Image, load_image
    from consilience.orchestrator.diagnoser import Diagnoser, diagnose
    from consilience.orchestrator.fit import FitReport, fit
    from consilience.orchestrator.panel_changes import add, remove
    from consilience.prediction import Prediction
    from consilience.settings import Settings, load_settings
    from consilience.task import Task
    from consilience.trust import Trust

_HOME = {
    "ConsilienceError": "consilience.errors",
    "Diagnoser": "consilience.orchestrator.diagnoser",
    "Diagnosis": "consilience.diagnosis",
    "Evaluation": "consilience.evals.evaluation",
    "Evidence": "consilience.evidence",
    "FailedImage": "consilience.diagnosis",
    "FitReport": "consilience.orchestrator.fit",
    "Image": "consilience.images",
    "Neighbour": "consilience.evidence",
    "Prediction": "consilience.prediction",
    "Settings": "consilience.settings",
    "Task": "consilience.task",
    "Trust": "consilience.trust",
    "add": "consilience.orchestrator.panel_changes",
    "diagnose": "consilience.orchestrator.diagnoser",
    "evaluate": "consilience.evals.evaluation",
    "fit": "consilience.orchestrator.fit",
    "load_image": "consilience.images",
    "load_settings": "consilience.settings",
    "remove": "consilience.orchestrator.panel_changes",
}

__all__ = [
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
