"""Reads a stream of events, which some gateways answer with though none was asked for, as one chat completion."""

from __future__ import annotations

import json
from typing import Any

from consilience.core.storage.json_text import parsed_json

_BEGINNINGS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How a stream of server-sent events begins, a comment that keeps the connection open included."""

_WRITTEN = ("content", "reasoning_content", "reasoning", "refusal")


def joined_events(body: bytes) -> bytes:
    """Return the chat completion, or the error, that a stream of events adds up to; another body as it is."""
    if not body.lstrip().startswith(_BEGINNINGS):
        return body
    choices: dict[Any, dict[str, Any]] = {}
    whole: dict[str, Any] = {"choices": []}
    for line in body.splitlines():
        chunk = _event(line)
        if chunk is None:
            continue
        whole |= {name: chunk[name] for name in ("usage", "error") if chunk.get(name)}
        for part in chunk.get("choices") or ():
            if isinstance(part, dict):
                _add(choices.setdefault(part.get("index", 0), {"message": {}}), part)
    whole["choices"] = [*choices.values()]
    return json.dumps(whole).encode()


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the data of one line; None where it holds none."""
    if not line.startswith(b"data:"):
        return None
    try:
        data = parsed_json(line.removeprefix(b"data:"))
    except ValueError:  # [DONE], or half a line
        return None
    return data if isinstance(data, dict) else None


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    """Add what a chunk says of a choice."""
    delta = part.get("delta") or part.get("message")
    message = choice["message"]
    for name in _WRITTEN:
        if isinstance(delta, dict) and isinstance(delta.get(name), str):
            message[name] = message.get(name, "") + delta[name]
    choice |= {name: part[name] for name in ("finish_reason", "error") if part.get(name)}
    tokens = part.get("logprobs")
    if isinstance(tokens, dict) and isinstance(tokens.get("content"), list):
        choice.setdefault("logprobs", {"content": []})["content"] += tokens["content"]
