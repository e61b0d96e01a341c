"""Which images of an evaluation are worth a person's eyes, and why.

A row is one line of `predictions.jsonl`. Each gallery ranks rows, the highest first, and keeps a bounded number, so
that one pass over any number of rows takes the same memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consilience.orchestrator.ensemble.trust_metrics import OVERCONFIDENT

Row = Mapping[str, Any]

A_GALLERY = 24
"""Pictures in a gallery, at most."""

ALL_LABELS = 600
"""Pictures in the galleries of single labels together, about."""


@dataclass
class Best:
    """The `size` rows of the highest rank; the earlier one where ranks are equal.

    Attributes:
        seen: how many rows were offered.
    """

    size: int
    seen: int = 0
    _heap: list[tuple[float, int, Row]] = field(default_factory=list)

    def offer(self, rank: float, row: Row) -> None:
        self.seen += 1
        keep = heapq.heappush if len(self._heap) < self.size else heapq.heappushpop
        keep(self._heap, (rank, -self.seen, row))

    def rows(self) -> list[Row]:
        """Highest rank first."""
        return [row for *_, row in sorted(self._heap, key=lambda one: one[:2], reverse=True)]


def top_label(distribution: Mapping[str, float]) -> str:
    """The most probable label; the first of equals."""
    return max(distribution, key=distribution.__getitem__)


def sureness(row: Row) -> float:
    """Posterior probability of the label that the panel named."""
    return float(row["posterior"][row["label"]])


def of_truth(row: Row, posterior: str = "posterior") -> float:
    """Posterior probability of the folder's label; 0 if the panel does not know it."""
    return float(row[posterior].get(row["truth"], 0.0))


def novelty_of(row: Row) -> float | None:
    """How novel the image is; where the row does not say, as its evidence tells; None without a diagnosis."""
    if row.get("novelty") is None:
        return None if row["evidence"] is None else float(row["evidence"]["novelty"])
    return float(row["novelty"])


def confident_error(row: Row) -> float | None:
    return sureness(row) if row["verdict"] == "confident" and row["label"] != row["truth"] else None


def referred(row: Row) -> float | None:
    return -sureness(row) if row["verdict"] == "refer" else None


def suspected_label_error(row: Row) -> float | None:
    """The panel is sure of another label than the folder's, and no agent that answered says otherwise."""
    said = {top_label(one["calibrated"]) for one in row["predictions"] if one["calibrated"] is not None}
    if row["label"] == row["truth"] or said != {row["label"]} or sureness(row) < OVERCONFIDENT:
        return None
    return sureness(row) - of_truth(row)


def _looked_again(row: Row, before: bool) -> float | None:
    """By how much the second look moved the folder's label, where it was named before or after, not both."""
    if row["first_posterior"] is None:
        return None
    was, is_now = top_label(row["first_posterior"]) == row["truth"], row["label"] == row["truth"]
    return abs(of_truth(row) - of_truth(row, "first_posterior")) if was == before and is_now != before else None


def helped(row: Row) -> float | None:
    return _looked_again(row, before=False)


def harmed(row: Row) -> float | None:
    return _looked_again(row, before=True)


@dataclass(frozen=True)
class Gallery:
    """What to show: `rank` is None for a row that has no place in it."""

    key: str
    title: str
    words: str
    rank: Callable[[Row], float | None]


GALLERIES = (
    Gallery(
        "errors",
        "Worst confident errors",
        "Settled without a person, and the folder says otherwise. The surest come first.",
        confident_error,
    ),
    Gallery(
        "suspects",
        "Suspected label errors",
        "The panel is sure, every agent that answered says the same, and the folder disagrees: look at the label.",
        suspected_label_error,
    ),
    Gallery("referred", "Referred to a person", "The least certain come first.", referred),
    Gallery(
        "helped",
        "Second looks that helped",
        "Wrong at the first look and right after the second. The greatest change comes first.",
        helped,
    ),
    Gallery(
        "harmed",
        "Second looks that harmed",
        "Right at the first look and wrong after the second. The greatest change comes first.",
        harmed,
    ),
)


class Chosen:
    """The rows that the galleries show, found in one pass: `offer` each row that has a diagnosis."""

    def __init__(self, labels: int) -> None:
        self.best = {gallery.key: Best(A_GALLERY) for gallery in GALLERIES}
        self._each = max(1, min(6, ALL_LABELS // (2 * max(labels, 1))))
        self.mistaken: dict[str, Best] = {}
        self.typical: dict[str, Best] = {}

    def offer(self, row: Row) -> None:
        for gallery in GALLERIES:
            if (rank := gallery.rank(row)) is not None:
                self.best[gallery.key].offer(rank, row)
        kind = self.typical if row["label"] == row["truth"] else self.mistaken
        kind.setdefault(row["truth"], Best(self._each)).offer(sureness(row), row)

    def of_label(self, label: str) -> list[Row]:
        """The label's surest mistakes, then its clearest cases."""
        return [row for kind in (self.mistaken, self.typical) if label in kind for row in kind[label].rows()]
