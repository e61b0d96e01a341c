"""The JSON object in a model's reply, and its fields read for what they mean.

What can mean two things is an AnswerError: the model is asked again with the problem named, and then it has failed.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from consilience.core.errors import AnswerError
from consilience.prompts import quoted

MAX_REPLY_CHARACTERS = 20_000
"""A longer reply is refused; an answer needs a few hundred characters."""

_NUMBER = r"(\d+(?:[.,]\d+)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_PERCENT = re.compile(rf"(?P<number>{_NUMBER})\s*(?:%|percent|per cent|pct)\.?", re.IGNORECASE)
_OF = re.compile(rf"(?P<number>{_NUMBER})\s*(?:/|out of|of|von|sur)\s*(?P<most>10|100|1)(?:[.,]0+)?\.?", re.IGNORECASE)
_PLAIN = re.compile(_NUMBER)


def only_object(text: str, named_by: str) -> dict[str, Any]:
    """Return the fields, by lower-case name, of the JSON object in the text that is the answer.

    Of several, one that says the same as the others in all but its words is enough; objects without an answer are none.

    Args:
        text: a reply.
        named_by: the key that every answer has.

    Raises:
        AnswerError: there is none, or there are several that differ; it has a key twice, or the text is too long.
    """
    found = _objects(text)
    answers = [fields for fields in found if named_by in fields] or found
    if not answers:
        raise AnswerError("the reply holds no JSON object")
    if len({_said(fields) for fields in answers}) > 1:
        raise AnswerError(f"the reply holds {len(answers)} JSON objects that differ; it must be exactly one")
    return answers[0]


def _said(fields: dict[str, Any]) -> str:
    """Return what an answer says, without the words about it."""
    return json.dumps({name: value for name, value in fields.items() if name != "rationale"}, sort_keys=True)


def _objects(text: str) -> list[dict[str, Any]]:
    """Return all JSON objects in the text, none of them inside another."""
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
    return objects


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


def one_text(fields: dict[str, Any], name: str) -> str:
    """Return the text under `name`, which may stand in a list by itself.

    Raises:
        AnswerError: it is missing, no text, or one of several.
    """
    if isinstance(several := fields.get(name), list) and all(isinstance(item, str) for item in several):
        if len(set(several)) > 1:
            raise AnswerError(f"'{name}' holds {len(several)} labels; it must be exactly one")
        fields = fields | {name: several[0]} if several else fields
    return str(field(fields, name, str))


def probability(fields: dict[str, Any], name: str) -> float:
    """Return the probability under `name`, in [0, 1].

    It may be text, with a decimal comma, in percent (over 10 to 100, or with a sign), or out of 10 or 100 ("8/10").

    Raises:
        AnswerError: it is missing, or is no probability. A bare number above 1 and up to 10 could be percent or points
            of ten, and is none.
    """
    value = field(fields, name, int, float, str)
    try:
        share = _share(value) if isinstance(value, str) else _bare(float(value))
    except (ValueError, OverflowError):
        share = math.nan
    if not 0.0 <= share <= 1.0:
        hint = ", and could be percent or points of ten" if isinstance(value, (int, float)) and 1 < value <= 10 else ""
        raise AnswerError(f"'{name}' is no number from 0 to 1{hint}: {quoted(str(value), 60)}")
    return share


def _share(text: str) -> float:
    """Return the share that a text states. Raises ValueError for what states none."""
    text = text.strip().strip("~≈").strip()
    if found := _PERCENT.fullmatch(text):
        return _number(found["number"]) / 100
    if found := _OF.fullmatch(text):
        return _number(found["number"]) / int(found["most"])
    if _PLAIN.fullmatch(text):
        return _bare(_number(text))
    raise ValueError(text)


def _bare(number: float) -> float:
    """Return a number without a unit as a share: over 10 it is a percentage; NaN where it could be either."""
    return number if number <= 1 else number / 100 if number > 10 else math.nan


def _number(digits: str) -> float:
    return float(digits.replace(",", "."))
