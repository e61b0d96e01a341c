"""Reading JSON that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any


def parsed_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it is no JSON, or its parts lie inside one another too deeply, which Python calls a RecursionError.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its parts lie inside one another too deeply") from None
