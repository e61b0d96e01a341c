"""The structured answer of a vision-language agent: the schema it is asked for, and the parser of its reply.

Servers differ in what they enforce, so every field is checked here whatever was promised.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

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

MAX_REPLY_CHARACTERS = 20_000
"""A longer reply is refused; an answer needs a few hundred characters."""


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

    Repaired, because it changes no meaning: prose or a code fence around exactly one JSON object, the case of keys and
    labels, synonyms, a confidence as text or in percent. Trailing commas are not: the model is asked again.

    Whether a second look changed the answer is not asked for but seen from its label: small models tell it wrongly, and
    an answer that was paid for would be refused for that.

    Raises:
        AnswerError: the reply holds no such object or several, lacks a key or has it twice, names a label outside the
            task, has a confidence that is not finite and in [0, 1] (or 2 to 100, percent), or, in a second look, gives
            no reason.
    """
    fields = only_object(text)
    label = parse_label(field(fields, "label", str), task)
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


def only_object(text: str) -> dict[str, Any]:
    """Return the fields, by lower-case name, of the one JSON object in the text.

    Raises:
        AnswerError: there is none or several, it has a key twice, or the text is too long.
    """
    if len(text) > MAX_REPLY_CHARACTERS or text.count("{") > 100:  # so many braces would take long to try
        raise AnswerError(f"the reply has over {MAX_REPLY_CHARACTERS} characters, or over 100 braces")
    decoder = json.JSONDecoder(object_pairs_hook=_fields, parse_constant=_not_finite, strict=False)
    objects: list[dict[str, Any]] = []
    position = text.find("{")
    while position >= 0:
        try:
            value, position = decoder.raw_decode(text, position)
            objects.append(value)
        except (ValueError, RecursionError):  # ValueError: also a number of thousands of digits
            position += 1
        position = text.find("{", position)
    if len(objects) != 1:
        raise AnswerError(f"the reply holds {len(objects) or 'no'} JSON objects; it must be exactly one")
    return objects[0]


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object by lower-case name. Raises AnswerError if a key comes twice."""
    fields = {name.strip().casefold(): value for name, value in pairs}
    if len(fields) != len(pairs):
        raise AnswerError("the JSON object has a key twice")
    return fields


def _not_finite(constant: str) -> float:
    """Raise AnswerError for NaN and the infinities."""
    raise AnswerError(f"{constant} is no number that an answer may hold")


def field(fields: dict[str, Any], name: str, *kinds: type) -> Any:
    """Return the value under `name`, which must be of one of the `kinds`.

    Raises:
        AnswerError: it is missing, or of another type.
    """
    if name not in fields:
        raise AnswerError(f"the JSON object lacks the key '{name}'")
    value = fields[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise AnswerError(f"'{name}' is of the wrong type: {quoted(json.dumps(value), 60)}")
    return value


def probability(fields: dict[str, Any], name: str) -> float:
    """Return the probability under `name`, in [0, 1]; it may be a percentage (2 to 100, or with a % sign), or text.

    Raises:
        AnswerError: it is missing, or is no probability. A number between 1 and 2 could mean either, and is none.
    """
    value = field(fields, name, int, float, str)
    percent = isinstance(value, str) and value.rstrip().endswith("%")
    try:
        number = float(value.rstrip("% ") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        number = math.nan
    if 0 <= number <= 1 or (percent and 0 <= number <= 100):
        return number / 100 if percent else number
    if 2 <= number <= 100:  # between 1 and 2 it could be either
        return number / 100
    raise AnswerError(f"'{name}' is no number from 0 to 1: {quoted(str(value), 60)}")
