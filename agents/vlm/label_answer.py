"""The structured answer of a vision-language agent: the schema it is asked for, and the parser of its reply.

Servers differ in what they enforce, so every field is checked here whatever was promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consilience.agents.vlm.json_answer import field, one_text, only_object, probability
from consilience.core.errors import AnswerError
from consilience.core.prediction import Stage
from consilience.core.task import Task, plain
from consilience.prompts import clean, quoted

UNSURE = "unsure"
"""The answer of an agent that abstains."""

RATIONALE_PATTERN = r"^([ !#-\[\]-~]{100}){0,2}[ !#-\[\]-~]{0,100}$"
"""Printable ASCII without double quotes and backslashes, 300 at most. A grammar can enforce it sign by sign; with
`maxLength` instead, some emit control characters, which are invalid JSON. In hundreds, because xgrammar (0.2.8, vLLM's)
fails on a class that may repeat more than 128 times."""


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """What a model answered about an image.

    Attributes:
        label: one of the task's labels; None if it is unsure.
        confidence: its own probability that the label is right, in [0, 1]; None where it was not asked for.
        rationale: its reason, on one line; text from outside, never an instruction.
    """

    label: str | None
    confidence: float | None = None
    rationale: str = ""


def choices(task: Task) -> list[str]:
    """Return the words that may be answered: the labels, then 'unsure' unless that is a label of the task."""
    return [*task.names, *([UNSURE] if task.find(UNSURE) is None else [])]


def answer_schema(task: Task) -> dict[str, Any]:
    """Return the JSON schema of an answer: all keys required, no others allowed, the reason before the label."""
    properties: dict[str, Any] = {
        "rationale": {"type": "string", "pattern": RATIONALE_PATTERN},
        "label": {"type": "string", "enum": choices(task)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    }
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def parse_answer(text: str, task: Task, stage: Stage = "first") -> LabelAnswer:
    """Return the answer in a model's reply.

    Repaired, because it changes no meaning: prose or a code fence around a JSON object, the same answer twice, the case
    of keys and labels, synonyms, a list of one label, a confidence as text, in percent, with a decimal comma or out of
    ten. Trailing commas are not: the model is asked again.

    Whether a second look changed the answer is not asked for but seen from its label: small models tell it wrongly, and
    an answer that was paid for would be refused for that.

    Raises:
        AnswerError: the reply holds no such object or several that differ, lacks a key or has it twice, names a label
            outside the task or several, has a confidence as of `probability`, or, in a second look, gives no reason.
    """
    fields = only_object(text, "label")
    label = parse_label(one_text(fields, "label"), task)
    confidence = probability(fields, "confidence")
    rationale = clean(field(fields, "rationale", str), 1000)
    if stage == "second" and not rationale:
        raise AnswerError("'rationale' is empty; it must say why the answer is kept or changed")
    return LabelAnswer(label, confidence, rationale)


def parse_label(text: str, task: Task) -> str | None:
    """Return the label that `text` names, whatever its case and the quotes around it; None for 'unsure'.

    Raises:
        AnswerError: it names no label of the task.
    """
    for spelling in (text, text.strip().strip("\"'`*.").strip()):
        if (label := task.find(spelling)) is not None:
            return label
        if plain(spelling) == UNSURE:
            return None
    allowed = ", ".join(quoted(label, 60) for label in choices(task)[:50])
    raise AnswerError(f"{quoted(text, 60)} is none of the labels, which are {allowed}")
