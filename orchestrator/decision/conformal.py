"""Prediction sets: the labels that cannot be excluded at a wished coverage.

Split conformal prediction (Vovk, Gammerman and Shafer 2005; for probabilities Sadinle, Lei and Wasserman 2019, "Least
ambiguous set-valued classifiers with bounded error levels") on the fusion's out-of-fold posteriors. A label y is
excluded if its posterior is below that of y for all but the least 1 - coverage of the labelled images of y: label by
label (Mondrian), so that rare labels are covered too. Of an image from where the labelled ones came from,

    P(true label is not excluded | label y) >= coverage.

That takes at least 1 / (1 - coverage) - 1 images, 19 for 95 %, of which the least probable one then decides alone. So a
label is judged by its own images only where IN_TAIL of them lie below the threshold (99 images for 95 %), and else by
the images of all labels, whose coverage holds on average over labels. Where all together are fewer than 19, nothing can
be excluded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

IN_TAIL = 5
"""Images of a label that its own threshold must rest on. With one, a single wrong image keeps its label in nearly every
set: of 128 apple leaves, 32 a label, 96 % of them right, 9 % were settled."""


def images_needed(coverage: float) -> int | None:
    """Return the fewest labelled images that a coverage takes; None: no number is enough.

    >>> images_needed(0.95), images_needed(0.9), images_needed(1.0)
    (19, 9, None)
    """
    return None if coverage >= 1.0 else math.ceil(1.0 / (1.0 - coverage) - 1.0 - 1e-9)


@dataclass(frozen=True)
class LabelSets:
    """The thresholds below which labels are excluded.

    Attributes:
        least: posterior below which a label is excluded, (c,); 0: it never is.
    """

    least: np.ndarray

    @classmethod
    def calibrated(cls, of_truth: np.ndarray, labels: np.ndarray, n_labels: int, coverage: float) -> Self:
        """Return the thresholds from the out-of-fold posterior of the true label, float (n,), and these labels."""
        own = [of_truth[labels == label] for label in range(n_labels)]
        return cls(np.array([_least(p if _in_tail(p, coverage) >= IN_TAIL else of_truth, coverage) for p in own]))

    @property
    def excludes(self) -> bool:
        """Whether there were enough images for any label to be excluded."""
        return bool((self.least > 0).any())

    def of(self, posterior: np.ndarray) -> np.ndarray:
        """Return which labels cannot be excluded at a posterior (n, c), bool (n, c); none of a row may be true."""
        return np.asarray(posterior >= self.least)


def with_top(posterior: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return the sets `left`, bool (n, c), with the most probable label in each: none is empty, coverage only grows."""
    kept = left.copy()
    kept[np.arange(len(kept)), posterior.argmax(axis=1)] = True
    return kept


def widest(sets: Sequence[LabelSets]) -> LabelSets:
    """Return sets that exclude only what each of these excludes."""
    return LabelSets(np.min([label_sets.least for label_sets in sets], axis=0))


def _in_tail(of_truth: np.ndarray, coverage: float) -> int:
    """k = floor((1 - coverage) (n + 1))."""
    return math.floor((1.0 - coverage) * (len(of_truth) + 1) + 1e-9)


def _least(of_truth: np.ndarray, coverage: float) -> float:
    """Return the k-th smallest; 0 for k = 0."""
    k = _in_tail(of_truth, coverage)
    return float(np.partition(of_truth, k - 1)[k - 1]) if k else 0.0
