"""Measuring side by side: what is compared takes turns in one run, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of a table: a quantity, measured in every turn.

    Attributes:
        what: the quantity and its unit.
        values: one a turn.
        most, least: what its median must not be above or below; None where nothing is asked of it.
    """

    what: str
    values: tuple[float, ...]
    most: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        """Return the median of the values."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Return whether the median is within its target; None without one."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.median <= self.most) and (self.least is None or self.median >= self.least)

    @property
    def target(self) -> str:
        """Return the target in words; empty without one."""
        bounds = [("at most", self.most), ("at least", self.least)]
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def seconds(timed: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Return the wall time of each, `turns` times, in turns; a turn before them is not measured."""
    durations: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(turns + 1):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            if turn > 0:
                durations[name].append(time.perf_counter() - start)
    return durations


def ratios(dividends: Sequence[float], divisors: Sequence[float]) -> tuple[float, ...]:
    """Return the ratios turn by turn, so that what slows a turn cancels out."""
    return tuple(dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True))


def table_of(figures: Sequence[Figure]) -> str:
    """Return median and spread of each figure, its target, and whether that is met, as text."""
    width = max(len(figure.what) for figure in figures)
    lines = [f"{'':{width}} {'median':>10} {'least':>10} {'most':>10}  target"]
    for figure in figures:
        verdict = {None: "", True: "PASS", False: "MISS"}[figure.met]
        lines.append(
            f"{figure.what:{width}} {figure.median:10,.3f} {min(figure.values):10,.3f} {max(figure.values):10,.3f}  "
            f"{figure.target} {verdict}".rstrip()
        )
    return "\n".join(lines)
