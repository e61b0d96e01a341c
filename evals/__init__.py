"""Evaluation: how a panel and its agents do on labelled images, replay of recorded runs, and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consilience.evals.evaluation import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    """Resolved on first use: an evaluation imports the orchestrator, which figures alone do not need."""
    if name not in __all__:
        raise AttributeError(f"module 'consilience.evals' has no attribute '{name}'")
    from consilience.evals import evaluation

    return getattr(evaluation, name)
