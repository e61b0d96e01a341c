"""What a vision-language agent is tuned on: its own look prompt, and the answer that is right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from consilience.agents.vlm.conversation import Message, first_messages
from consilience.core.errors import DatasetError
from consilience.core.images import Image
from consilience.core.task import Task
from consilience.prompts import clean, load_prompt

CONFIDENCE = 0.95
"""Stated in every answer: one that is always sure would leave the other labels no chance. How far it can be trusted is
found by calibration, as for any agent."""

TYPICAL = "It shows what is typical of this label."
"""The reason that is given where the task does not describe the label."""


@dataclass(frozen=True)
class TrainingExample:
    """A conversation of a first look, and the reply that is to follow it.

    Attributes:
        image: its identity. label: the right one.
    """

    messages: Sequence[Message]
    answer: str
    image: str
    label: str


def training_example(task: Task, image: Image, label: str, side: int, label_only: bool) -> TrainingExample:
    """Return the lesson of one labelled image, its longer side at most `side` pixels.

    Args:
        label_only: whether the answer is the label alone, as for `confidence: logprob`, or our JSON form.

    Raises:
        DatasetError: the task lacks the label.
    """
    known = next((entry for entry in task.labels if entry.name == label), None)
    if known is None:
        raise DatasetError(f"the task has no label '{label}'; it has {', '.join(task.names)}")
    messages = first_messages(load_prompt("look", task), task, image, side, label_only)
    answer = {"rationale": clean(known.descriptions[0]) if known.descriptions else TYPICAL, "label": clean(label)}
    in_json = json.dumps({**answer, "confidence": CONFIDENCE}, ensure_ascii=False, separators=(",", ":"))
    return TrainingExample(messages, clean(label) if label_only else in_json, image.identity, label)
