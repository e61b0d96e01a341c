"""Answers of a model that tells drawn shapes apart by their colours, for a scripted server."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.scripted_server import Scripted, chat, says
from tests.support.vlm_cases import pictures


def sees(request: dict[str, Any]) -> Scripted:
    """Return a model's answer, which tells red circles, blue squares and yellow stripes apart."""
    red, green, blue = np.asarray(pictures(request)[0]).astype(float).reshape(-1, 3).T
    marks = {"circle": (red - green).max(), "square": (blue - red).max(), "stripes": (green - blue).max()}
    return chat(says(max(marks, key=marks.__getitem__), 0.9, "by its colour\x1b[31m"), tokens=(100, 10))
