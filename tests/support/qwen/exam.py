"""What the tiny model has learned: the agent itself asks it about pictures that it was not taught."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consilience.agents import AgentInput
from consilience.agents.vlm.transformers_agent import TransformersAgent
from consilience.core.prediction import Prediction, Stage
from consilience.core.settings.transformers_settings import TransformersSettings
from tests.support.qwen.lessons import CASE_SIDE, SIDE, Case, Course

QUESTIONS, PASS = 64, 0.95
"""Of each look, and the share of right answers that is enough."""

STAGES: tuple[Stage, ...] = ("first", "second")

SEED = 10**6
"""Apart from every seed that one teaches with."""


def examined(model: Path, course: Course) -> dict[str, float]:
    """Return for each look the share of right answers; at first, to abstain is right where a picture is too dark."""
    rng = random.Random(SEED)  # noqa: S311
    first, second = ([course.case(rng, stage) for _ in range(QUESTIONS)] for stage in STAGES)
    marks = {}
    for confidence in ("logprob", "verbalised"):
        settings: dict[str, object] = {
            "name": "student",
            "model": str(model),
            "device": "cpu",
            "confidence": confidence,
        }
        settings |= {"image_side": SIDE, "neighbour_side": CASE_SIDE, "max_tokens": 60, "batch_size": 16}
        agent = TransformersAgent(TransformersSettings.model_validate(settings))
        at_first = [case.label if case.clarity else None for case in first]
        marks[f"first, {confidence}"] = _mark(agent.predict(_inputs(course, first)), at_first)
        first_looks, evidence = [case.first for case in second], [case.evidence for case in second]
        again = agent.revise(_inputs(course, second), first_looks, evidence)
        marks[f"second, {confidence}"] = _mark(again, [case.label for case in second])
    return marks


def _inputs(course: Course, cases: Sequence[Case]) -> AgentInput:
    vectors = np.ones((len(cases), 1), np.float32)
    return AgentInput(course.task, [case.image for case in cases], vectors, np.zeros((len(cases), 1), int), vectors)


def _mark(answers: Sequence[Prediction], labels: Sequence[str | None]) -> float:
    right = [
        prediction.error is None and prediction.label == label
        for prediction, label in zip(answers, labels, strict=True)
    ]
    return float(np.mean(right))
