"""From values to pixels, for the drawings in `charts.html`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along pixels from `start` to `end`; values beyond are put at the ends.

    >>> Axis(0.0, 1.0, 200, 0)(0.25)
    150.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """Return at most about `count` round numbers within the axis."""
        from matplotlib.ticker import MaxNLocator

        ticks = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [round(float(tick), 6) for tick in ticks if self.low - 1e-9 <= tick <= self.high + 1e-9]


def from_lowest(lows: Iterable[float], start: float, end: float) -> Axis:
    """Return an axis from the tenth below the lowest interval to 1, so that good agents can be told apart."""
    lowest = min(lows, default=0.0)
    return Axis(min(math.floor(10 * lowest) / 10, 0.9), 1.0, start, end)


def to_highest(highs: Iterable[float], start: float, end: float) -> Axis:
    """Return an axis from 0 to a little above the highest value."""
    return Axis(0.0, max(max(highs, default=0.0) * 1.08, 0.01), start, end)
