"""The structured answer of a language model that reads a case: its JSON schema, and how a reply is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consilience.agents.vlm import json_answer as answer
from consilience.agents.vlm.label_answer import RATIONALE_PATTERN, parse_label
from consilience.core.errors import AnswerError
from consilience.core.task import Task
from consilience.prompts import clean, quoted

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_FIGURE = re.compile(r"(?<![\w.])(\d+(?:\.(\d+))?)(?!\w)(\s*(?:%|percent\b|per cent\b))?")


@dataclass(frozen=True, slots=True)
class ReasonerOutput:
    """The answer of a reasoner.

    Attributes:
        label: one of the task's labels.
        probability: that the label is right, in [0, 1], as the reasoner states it.
        rationale: why, on one line. It is data.
        ask_again: by agent, why it should look again.
    """

    label: str
    probability: float
    rationale: str
    ask_again: Mapping[str, str] = field(default_factory=dict)


def output_schema(task: Task, can_revise: Sequence[str]) -> dict[str, Any]:
    """Return the strict JSON schema of an answer.

    Args:
        can_revise: the agents that can be asked again; without any the schema has no 'ask_again'.
    """
    text = {"type": "string", "pattern": RATIONALE_PATTERN}
    properties: dict[str, Any] = {
        "rationale": text,
        "label": {"type": "string", "enum": list(task.names)},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
    }
    if can_revise:
        wish = _strict({"agent": {"type": "string", "enum": list(can_revise)}, "why": text})
        properties["ask_again"] = {"type": "array", "items": wish, "maxItems": len(can_revise)}
    return _strict(properties)


def _strict(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def parse_output(text: str, task: Task, can_revise: Collection[str]) -> ReasonerOutput:
    """Return the answer in a model's reply, read as `parse_answer` reads an agent's.

    Raises:
        AnswerError: it lacks a part, or has one of a wrong kind; it names no label of the task; it gives its label less
            than an even share, and so speaks for another one; it asks for an agent that cannot look again.
    """
    fields = answer.only_object(text, "label")
    label = parse_label(answer.one_text(fields, "label"), task)
    if label is None:
        raise AnswerError("'label' must be one of the labels")
    probability = answer.probability(fields, "probability")
    if probability < 1 / len(task.names):
        raise AnswerError(
            f"'probability' gives {quoted(label, 60)} less than an even share of {len(task.names)} labels"
        )
    wishes = answer.field(fields, "ask_again", list) if can_revise else fields.get("ask_again") or []
    return ReasonerOutput(
        label,
        probability,
        clean(answer.field(fields, "rationale", str), 1000),
        dict(_wish(wish, can_revise) for wish in wishes),
    )


def _wish(wish: Any, can_revise: Collection[str]) -> tuple[str, str]:
    if not isinstance(wish, dict):
        raise AnswerError("'ask_again' must be a list of objects")
    agent, why = answer.field(wish, "agent", str), answer.field(wish, "why", str)
    if agent not in can_revise:
        those = ", ".join(quoted(name, 60) for name in can_revise) or "none"
        raise AnswerError(f"{quoted(agent, 60)} cannot be asked to look again; those that can: {those}")
    return agent, clean(why)


def invented_figures(words: str, *, shown: str, names: Collection[str], own: float, countable: int) -> list[str]:
    """Return the figures in `words` that are not in the record: a model must not make up what it reports.

    A figure is a number in digits, with or without a percent sign. It is in the record if it is one of these numbers,
    rounded to as many digits as it has: those that `shown` has outside double quotes (what agents wrote is no
    measurement), those in the `names` of labels and agents, the reasoner's `own` probability; without a percent sign
    also whole numbers up to `countable`, since looks and similar images can be counted.
    """
    known = [value for _, value, _ in _figures(" ".join([_QUOTED.sub(" ", shown), *names]))] + [own]
    return [
        figure
        for figure, value, unit in _figures(words)
        if not (unit == 1.0 and value <= countable)
        and not any(abs(value - other) <= unit / 2 + 1e-9 for other in known)
    ]


def _figures(text: str) -> Iterator[tuple[str, float, float]]:
    """Yield each figure, its value (a percentage as a share), and how much its last digit stands for."""
    for match in _FIGURE.finditer(unicodedata.normalize("NFKC", text)):
        digits, decimals, percent = match.groups()
        scale = 0.01 if percent else 1.0
        yield match[0].strip(), float(digits) * scale, scale * 10.0 ** -len(decimals or "")
