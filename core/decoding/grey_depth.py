"""How many bits of 16-bit values are in use: cameras and scanners store 10, 12 or 14 bits in 16."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners deliver."""


def depth_of(values: npt.NDArray[np.uint16]) -> int:
    """Return the fewest bits of DEPTHS that hold all values.

    >>> depth_of(np.array([0, 3792], dtype=np.uint16)), depth_of(np.array([4096], dtype=np.uint16))
    (12, 14)
    """
    bits = int(values.max(initial=0)).bit_length()
    return next(depth for depth in DEPTHS if bits <= depth)


def eight_bits(values: npt.NDArray[Any], depth: int | None) -> tuple[npt.NDArray[np.uint8], str]:
    """Return the upper eight bits of those in use, and what is to be said of it; nothing where all 16 are.

    Args:
        values: uint16, of any shape.
        depth: bits that are in use, 8 to 16; None: the fewest of DEPTHS that hold the values.
    """
    used = depth if depth is not None else depth_of(values)
    small = np.minimum(values >> (used - 8), 255).astype(np.uint8)
    if used == 16:
        return small, ""
    found = "stated" if depth is not None else f"the greatest value is {int(values.max(initial=0)):,}"
    return small, f"taken as {used} bits in 16 ({found}): 0 to {2**used - 1:,} is shown as black to white"
