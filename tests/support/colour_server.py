"""Answers of a model that sees colours, for a scripted server: pictures of blue, green and red speckles."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.scripted_server import Scripted, chat, says
from tests.support.vlm_cases import pictures

NAMES = ("red", "green", "blue")
TOKENS = (100, 10)
PRICES = {"price_per_million_input_tokens": 10.0, "price_per_million_output_tokens": 100.0}
COST = 0.002
"""Of one answer, in US dollars, at these prices."""


def by_colour(request: dict[str, Any]) -> Scripted:
    """Return the reply that names the colour of the first picture, which is the image."""
    colour = NAMES[int(np.asarray(pictures(request)[0]).mean(axis=(0, 1)).argmax())]
    return chat(says(colour, 0.9, "it is " + colour), tokens=TOKENS)


def model(url: str, **settings: Any) -> dict[str, Any]:
    """An entry of `models` in a settings file."""
    return {
        "kind": "endpoint",
        "name": "qwen",
        "model": "tiny",
        "base_url": url,
        "max_retries": 0,
        **PRICES,
        **settings,
    }
