"""Evaluation: how a panel and its agents do on labelled images, replay of recorded runs, and benchmarks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consilience.evals.comparison import Comparison, compare
    from consilience.evals.evaluation import Evaluation, evaluate
    from consilience.evals.robustness.robustness_metrics import Robustness
    from consilience.evals.robustness.robustness_run import stress

_HOME = {
    "Comparison": "consilience.evals.comparison",
    "Evaluation": "consilience.evals.evaluation",
    "Robustness": "consilience.evals.robustness.robustness_metrics",
    "compare": "consilience.evals.comparison",
    "evaluate": "consilience.evals.evaluation",
    "stress": "consilience.evals.robustness.robustness_run",
}

__all__ = ["Comparison", "Evaluation", "Robustness", "compare", "evaluate", "stress"]


def __getattr__(name: str) -> Any:
    """Resolve public names on first use: an evaluation imports the orchestrator, which figures alone do not need."""
    if name not in _HOME:
        raise AttributeError(f"module 'consilience.evals' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
