"""What a vision-language agent is tuned on: the prompt of its first look, and the right answer to it."""

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
"""The confidence stated in every answer: 1 would leave the other labels no chance. What it is worth is found by
calibration, as for any agent."""

TYPICAL = "It shows what is typical of this label."
"""The reason that is given where the task does not describe the label."""


@dataclass(frozen=True)
class TrainingExample:
    """The messages of a first look, and the reply that is to follow them.

    Attributes:
        messages: as the agent sends them when it is used.
        answer: the right reply.
        image: identity of the image, by its pixels.
        label: the right label.
    """

    messages: Sequence[Message]
    answer: str
    image: str
    label: str


def training_example(task: Task, image: Image, label: str, side: int, label_only: bool) -> TrainingExample:
    """Return the training example of one labelled image.

    Args:
        task: the question, whose prompts are used.
        image: the image.
        label: its right label.
        side: the image is shown with its longer side at most this many pixels.
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
