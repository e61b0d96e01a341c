"""What the members said of labelled images that they had not seen: calibration, trust and fusion follow from it.

`fit` gives the out-of-fold predictions of its images; feedback adds what was said of an image before it joined the
memory, which is as honest. Old evidence fades: each row draws a lifetime, once, from an exponential distribution, so
that of the rows after which h more images were learned half still count, h being the half-life. In expectation that is
an exponential weight, and no estimator needs to know of weights (exponentially biased sampling: Aggarwal, 'On Biased
Reservoir Sampling in the Presence of Stream Evolution', VLDB 2006). A faded row is kept: it counts again if what
came after it is undone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.ranking import ranked

MIN_CAPACITY = 10
"""Rows of a label that always count, the newest, however old."""


@dataclass(frozen=True)
class LabelledPredictions:
    """Predictions of n labelled images.

    Attributes:
        ids: n identities, unique.
        labels: the true labels, int (n,).
        raw: probabilities before calibration, float (a, n, c), in the order of the panel's members; rows of NaN where
            one did not look or answer.
        changes: the change that brought each, int (n,); 0: `fit`.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    raw: np.ndarray
    changes: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.labels.shape != (n,) or self.changes.shape != (n,) or self.raw.ndim != 3 or self.raw.shape[1] != n:
            raise ValueError(f"predictions of {n} images of shapes {self.labels.shape}, {self.raw.shape}")

    @classmethod
    def of_fit(cls, ids: Sequence[str], labels: np.ndarray, raw: Sequence[np.ndarray]) -> Self:
        """Return the predictions that `fit` made out of fold: n ids, labels int (n,), and raw (n, c) of each member."""
        return cls(tuple(ids), labels, np.stack(list(raw)), np.zeros(len(ids), dtype=np.intp))

    def with_added(self, ids: Sequence[str], labels: np.ndarray, raw: np.ndarray, change: int) -> LabelledPredictions:
        """Return these and new ones, of labels int (m,) and raw (a, m, c), which the change of this number brought."""
        return LabelledPredictions(
            (*self.ids, *ids),
            np.concatenate([self.labels, labels]),
            np.concatenate([self.raw, raw], axis=1),
            np.concatenate([self.changes, np.full(len(ids), change, dtype=np.intp)]),
        )

    def without(self, ids: Collection[str]) -> LabelledPredictions:
        """Return those of other images than these."""
        gone = set(ids)
        return self.take(np.array([identity not in gone for identity in self.ids], dtype=bool))

    def take(self, chosen: np.ndarray) -> LabelledPredictions:
        """Return those for which `chosen`, bool (n,), is true."""
        ids = tuple(identity for identity, is_in in zip(self.ids, chosen, strict=True) if is_in)
        return LabelledPredictions(ids, self.labels[chosen], self.raw[:, chosen], self.changes[chosen])

    def lasting(self, half_life: float) -> np.ndarray:
        """Return which rows still count, bool (n,), with a half-life in learned images."""
        learned = np.sort(self.changes[self.changes > 0])
        ages = len(learned) - np.searchsorted(learned, self.changes, side="right")  # images of later changes
        lasts = ages < half_life * np.array([_lifetime(identity) for identity in self.ids])
        newest_first = np.lexsort((np.arange(len(ages)), ages))
        for label in np.unique(self.labels):
            lasts[newest_first[self.labels[newest_first] == label][:MIN_CAPACITY]] = True
        return np.asarray(lasts)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return arrays for a file, which `from_arrays` restores."""
        return {
            "ids": np.array(self.ids, dtype=np.str_),
            "labels": self.labels,
            "raw": self.raw,
            "changes": self.changes,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore what `arrays` returned."""
        return cls(tuple(arrays["ids"].tolist()), arrays["labels"], arrays["raw"], arrays["changes"])


def with_room(raw: np.ndarray) -> np.ndarray:
    """Return distributions (n, c) as (n, c + 1), for an agent that could not name the last label.

    What it did not give to the label that it named is spread over one more label: so a word with one confidence stays
    one. Who named several labels gave the others nothing.

    >>> with_room(np.array([[0.8, 0.2]])).round(2).tolist()
    [[0.8, 0.1, 0.1]]
    """
    n, c = raw.shape
    named = np.nan_to_num(raw).argmax(axis=1)
    best = raw[np.arange(n), named]
    wider = np.c_[raw * (c - 1) / c, (1 - best) / c]
    wider[np.arange(n), named] = best
    several = ranked(raw)
    wider[several] = np.c_[raw[several], np.zeros(several.sum())]
    unanswered = ~np.isfinite(best)
    wider[unanswered] = best[unanswered, None]
    return np.asarray(wider)


def _lifetime(identity: str) -> float:
    """In half-lives, exponentially distributed over identities, always the same for one."""
    number = int.from_bytes(hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    return float(-np.log2((number + 1) / 2**64))
