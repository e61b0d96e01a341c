"""The error that a provider sends: its words, whether it may pass, and what to do about it.

It comes with an HTTP status, or in the body of a 200: for the whole reply, for one of its choices, or in a stream.
"""

from __future__ import annotations

import re
from typing import Any

from consilience.core.errors import AgentError
from consilience.core.storage.json_text import parsed_json
from consilience.prompts import clean

RETRIED = frozenset({408, 409, 429})
"""States after which a request is sent again, beside those from 500."""

_PASSING = re.compile(r"rate.?limit|overload|time.?out|unavailable|busy|upstream|server.?error|try again|retry", re.I)
_LASTING = re.compile(
    r"invalid|authenticat|permission|not.?found|unsupported|forbidden|denied|too (large|long)|context.length", re.I
)
_QUOTA = re.compile(
    r"insufficient.{0,3}(quota|balance|credit|fund)|exceeded your current quota|billing|payment.required"
    r"|(out of|not enough|no|more) (credit|balance|fund)|credit balance|credits? \w* ?(exhausted|depleted|used up)",
    re.I,
)
_WAITING = re.compile(r"(retry|try again) (in|after)|per (minute|second|hour)", re.I)
"""What a quota that comes back says: Gemini calls a limit a minute a quota."""

USED_UP = (
    "the quota or credit of the account is used up, and neither waiting nor asking less helps: add credit at the "
    "provider, then run the same again (answers in the reply cache are not paid for twice)"
)

_REMEDIES = {
    401: "check the key in the environment variable that 'key_variable' names",
    403: "check the key in the environment variable that 'key_variable' names",
    404: "check 'base_url' and 'model'",
    413: "lower 'image_side' or 'neighbours_shown'",
    429: "lower 'concurrency' or raise 'max_retries'",
}


class ProviderError(AgentError):
    """A provider answered with an error.

    Attributes:
        status: as of HTTP, or as the body tells; None if neither tells.
        words: what the provider says, all of it; it may hold anything.
        asked: how long it asks to wait, as it says it; empty where it does not.
        may_pass: whether sending the request again may help.
    """

    def __init__(self, words: str, status: int | None = None, kind: str = "", asked: str = "") -> None:
        """Make the error.

        Args:
            words: what the provider says.
            status: as of HTTP.
            kind: how the provider calls this kind of error.
            asked: how long it asks to wait, as it says it.
        """
        self.status, self.words, self.asked = status, words, asked
        told = f"{kind} {words}"
        is_used_up = status == 402 or (bool(_QUOTA.search(told)) and not asked and not _WAITING.search(words))
        if is_used_up:
            self.may_pass, remedy = False, USED_UP
        else:
            remedy = _REMEDIES.get(status or 0, "")
            self.may_pass = status in RETRIED or status >= 500 if status is not None else _passes(told)
        where = "the endpoint sent an error" if status is None else f"status {status}"
        waits = f" (retry after: {clean(asked)})" if asked else ""
        super().__init__(f"{where}: {clean(words)}{waits}" + (f"; {remedy}" if remedy else ""))


def _passes(told: str) -> bool:
    """Return whether an error without a status may pass; most that come in a 200 are an upstream's trouble."""
    return bool(_PASSING.search(told)) or not _LASTING.search(told)


def refused(status: int, body: bytes, asked: str = "") -> ProviderError:
    """Return the error of a response with an error status."""
    data = _json(body)
    words = words_of(data) or body.decode(errors="replace").strip()
    return ProviderError(words, status, _kind(data), asked)


def error_in(body: bytes) -> ProviderError | None:
    """Return the error in the body of a response of status 200; None if it holds none."""
    data = _json(body)
    if not isinstance(data, dict):
        return None
    if data.get("error") or data.get("object") == "error":
        return ProviderError(words_of(data), _status(data.get("error")) or _status(data), _kind(data))
    choices = data.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
            words = words_of(choice.get("error")) or "the model was interrupted"
            return ProviderError(words, _status(choice.get("error")), _kind(choice))
    return None


def words_of(value: Any, depth: int = 6) -> str:
    """Return what the JSON of an error says: with the cause that a gateway was told, and the fields that are named."""
    if isinstance(value, str):
        return value
    if not depth:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (words_of(item, depth - 1) for item in value)))
    if not isinstance(value, dict):
        return ""
    said = next(filter(None, (words_of(value.get(name), depth - 1) for name in _SAYING)), "")
    place = value.get("loc") if isinstance(value.get("loc"), list) else [value["param"]] if value.get("param") else []
    where = ".".join(map(str, place or ()))
    metadata = value.get("metadata")
    raw = words_of(metadata.get("raw"), depth - 1) if isinstance(metadata, dict) else ""
    return "".join([f"{where}: " if where and where not in said else "", said, f" ({raw})" if raw else ""])


_SAYING = ("error", "message", "msg", "detail", "errors")
"""Where the words of an error stand, the most telling first."""


def _json(body: bytes) -> Any:
    try:
        return parsed_json(body)
    except ValueError:
        return None


def _kind(data: Any) -> str:
    """Return how the provider calls the error: its type and its code, where these are words."""
    inner = data.get("error") if isinstance(data, dict) and isinstance(data.get("error"), dict) else data
    names = (inner.get(name) for name in ("type", "code", "status")) if isinstance(inner, dict) else ()
    return " ".join(name for name in names if isinstance(name, str))


def _status(error: Any) -> int | None:
    """Return the HTTP status in an error, as a number or in digits."""
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code") or fields.get("status")
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None
