"""Which images of an evaluation a person should see, and why.

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
    """Keeps the `size` rows of the highest rank; the earlier one where ranks are equal.

    Attributes:
        seen: how many rows were offered.
    """

    size: int
    seen: int = 0
    _heap: list[tuple[float, int, Row]] = field(default_factory=list)

    def offer(self, rank: float, row: Row) -> None:
        """Keep the row if its rank is among the highest so far."""
        self.seen += 1
        push = heapq.heappush if len(self._heap) < self.size else heapq.heappushpop
        push(self._heap, (rank, -self.seen, row))

    def rows(self) -> list[Row]:
        """Return the rows that were kept, highest rank first."""
        return [row for *_, row in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def top_label(distribution: Mapping[str, float]) -> str:
    """Return the most probable label; the first of equals."""
    return max(distribution, key=distribution.__getitem__)


def sureness(row: Row) -> float:
    """Return the posterior probability of the label that the panel named."""
    return float(row["posterior"][row["label"]])


def of_truth(row: Row, posterior: str = "posterior") -> float:
    """Return the posterior probability of the folder's label; 0 if the panel does not know it."""
    return float(row[posterior].get(row["truth"], 0.0))


def novelty_of(row: Row) -> float | None:
    """Return how novel the image is, [0, 1]; None without a diagnosis."""
    return None if row["novelty"] is None else float(row["novelty"])


def confident_error(row: Row) -> float | None:
    """Return the probability of a wrong label that was settled; None for other rows."""
    return sureness(row) if row["verdict"] == "confident" and row["label"] != row["truth"] else None


def referred(row: Row) -> float | None:
    """Return how unsure a referred image is, as the negative probability of its label; None for settled ones."""
    return -sureness(row) if row["verdict"] == "refer" else None


def suspected_label_error(row: Row) -> float | None:
    """Return how much surer the panel is of its label than of the folder's, where all agents that answered agree.

    None where they don't, or the panel is not sure, or the folder has the same label.
    """
    predictions = (prediction["calibrated"] for prediction in row["predictions"])
    labels = {top_label(calibrated) for calibrated in predictions if calibrated is not None}
    if row["label"] == row["truth"] or labels != {row["label"]} or sureness(row) < OVERCONFIDENT:
        return None
    return sureness(row) - of_truth(row)


def _second_look_change(row: Row, right_before: bool) -> float | None:
    """By how much the second look moved the folder's label, where it was named before or after, not both."""
    if row["first_posterior"] is None:
        return None
    before, after = top_label(row["first_posterior"]) == row["truth"], row["label"] == row["truth"]
    if before != right_before or after == right_before:
        return None
    return abs(of_truth(row) - of_truth(row, "first_posterior"))


def helped(row: Row) -> float | None:
    """Return by how much a second look that corrected the label moved its probability; None for other rows."""
    return _second_look_change(row, right_before=False)


def harmed(row: Row) -> float | None:
    """Return by how much a second look that made the label wrong moved its probability; None for other rows."""
    return _second_look_change(row, right_before=True)


@dataclass(frozen=True)
class Gallery:
    """What to show. `rank` returns None for a row that does not belong in it, higher for a row to show earlier."""

    key: str
    title: str
    words: str
    rank: Callable[[Row], float | None]


GALLERIES = (
    Gallery(
        "errors",
        "Confident mistakes",
        "Settled without a person, but the folder has another label. Most confident first.",
        confident_error,
    ),
    Gallery(
        "suspects",
        "Possible label errors",
        "The panel is sure and all agents agree, but the folder has another label: check the folder's label.",
        suspected_label_error,
    ),
    Gallery("referred", "Referred to a person", "Least certain first.", referred),
    Gallery(
        "helped",
        "Corrected by the second look",
        "Wrong after the first look, right after the second. Largest change first.",
        helped,
    ),
    Gallery(
        "harmed",
        "Made wrong by the second look",
        "Right after the first look, wrong after the second. Largest change first.",
        harmed,
    ),
)


class Chosen:
    """Chooses the rows that the galleries show, in one pass: `offer` each row that has a diagnosis."""

    def __init__(self, labels: int) -> None:
        self.best = {gallery.key: Best(A_GALLERY) for gallery in GALLERIES}
        self._each = max(1, min(6, ALL_LABELS // (2 * max(labels, 1))))
        self.mistaken: dict[str, Best] = {}
        self.typical: dict[str, Best] = {}

    def offer(self, row: Row) -> None:
        """Give the row its place in each gallery that it belongs in."""
        for gallery in GALLERIES:
            if (rank := gallery.rank(row)) is not None:
                self.best[gallery.key].offer(rank, row)
        kind = self.typical if row["label"] == row["truth"] else self.mistaken
        kind.setdefault(row["truth"], Best(self._each)).offer(sureness(row), row)

    def of_label(self, label: str) -> list[Row]:
        """Return the label's most confident mistakes, then its most confident right answers."""
        return [row for kind in (self.mistaken, self.typical) if label in kind for row in kind[label].rows()]
