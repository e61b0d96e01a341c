"""What the tiny model has learned: the agent itself asks it about pictures that it was not taught."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lessons import CASE_SIDE, SIDE, Course

from consilience.agents import Views
from consilience.agents.transformers_agent import TransformersAgent
from consilience.model_settings import TransformersSettings
from consilience.prediction import Prediction

QUESTIONS, PASS = 64, 0.95
"""Of each look, and the share of right answers that is enough."""

SEED = 10**6
"""Apart from every seed that one teaches with."""


def examined(model: Path, course: Course) -> dict[str, float]:
    """For each look the share of right answers; of a picture too dark to tell, an abstention at first is right."""
    rng = random.Random(SEED)  # noqa: S311
    cases = [course.case(rng) for _ in range(QUESTIONS)]
    ones = np.ones((QUESTIONS, 1), np.float32)
    views = Views(course.task, [case.image for case in cases], ones, np.zeros((QUESTIONS, 1), int), ones)
    labels = [case.label for case in cases]
    at_first = [case.label if case.clarity else None for case in cases]
    marks = {}
    for confidence in ("logprob", "verbalised"):
        settings = {"image_side": SIDE, "neighbour_side": CASE_SIDE, "max_tokens": 60, "batch_size": 16}
        agent = TransformersAgent(
            TransformersSettings(name="student", model=str(model), device="cpu", confidence=confidence, **settings)
        )
        marks[f"first, {confidence}"] = _mark(agent.look(views), at_first)
        again = agent.look_again(views, [case.first for case in cases], [case.evidence for case in cases])
        marks[f"second, {confidence}"] = _mark(again, labels)
    return marks


def _mark(answers: Sequence[Prediction], labels: Sequence[str | None]) -> float:
    right = [one.error is None and one.label == label for one, label in zip(answers, labels, strict=True)]
    return float(np.mean(right))
