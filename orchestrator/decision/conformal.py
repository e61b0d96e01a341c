"""Prediction sets: the labels that cannot be excluded at a wished coverage.

Split conformal prediction (Vovk, Gammerman and Shafer 2005; for probabilities Sadinle, Lei and Wasserman 2019, "Least
ambiguous set-valued classifiers with bounded error levels") on the fusion's out-of-fold posteriors. A label y is
excluded if its posterior is below that of y for all but the least 1 - coverage of the labelled images of y: label by
label (Mondrian), so that rare labels are covered too. Of an image from where the labelled ones came from,

    P(true label is not excluded | label y) >= coverage.

What is counted are groups, the images of one thing: image i of group k weighs 1 / ((K + 1) n_k) among the K groups that
show the label, and 1 / (K + 1) is kept for the new thing (Lee, Barber and Willett 2023; Dunn, Wasserman and Ramdas
2022). Without groups every image is a thing.

That takes at least 1 / (1 - coverage) - 1 groups, 19 for 95 %, of which the least probable one then decides alone. So a
label has a threshold of its own, and a promise, only where IN_TAIL of its groups lie below it (99 groups for 95 %). The
others take the threshold of all images. As rare labels look less probable than they do, that covers them less; so that
all images together keep the coverage, the labels with a promise then take the smaller one of their own threshold and
that of all. Of what was tried it has the smallest sets: calibrating rare labels together, as a class of their own or
with the next rarest (a partition), covers them more (0.80 to 0.94 where this does 0.66 to 0.85), and settles up to 20
points less. Where all together are fewer than 19, nothing can be excluded.

If labels occur in other shares where the panel is used, images weigh in the threshold of all by the ratio of the shares
(Tibshirani et al. 2019; Podkopaev and Ramdas 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.orchestrator.grouping.group_weights import group_weights

IN_TAIL = 5
"""Groups of a label that its own threshold must rest on. With one, a single wrong image keeps its label in nearly every
set: of 128 apple leaves, 32 a label, 96 % of them right, 9 % were settled."""

ROUNDING = 1e-9
"""By how much a sum of weights may miss a bound."""


def images_needed(coverage: float, in_tail: int = 1) -> int | None:
    """Return the fewest groups (images, where each is its own) that a coverage takes; None: no number is enough.

    Args:
        coverage: in [0, 1].
        in_tail: how many of them are to lie below the threshold; IN_TAIL for a label's own.

    >>> images_needed(0.95), images_needed(0.9), images_needed(1.0), images_needed(0.95, IN_TAIL)
    (19, 9, None, 99)
    """
    return None if coverage >= 1.0 else math.ceil(in_tail / (1.0 - coverage) - 1.0 - ROUNDING)


@dataclass(frozen=True)
class LabelSets:
    """The thresholds below which labels are excluded, and for which labels they promise something.

    Attributes:
        least: posterior below which a label is excluded, (c,); 0: it never is.
        groups: groups that show each label, int (c,).
        is_promised: whether the coverage holds for a label's own images, bool (c,), not only for all images together.
    """

    least: np.ndarray
    groups: np.ndarray | None = None
    is_promised: np.ndarray | None = None

    @classmethod
    def calibrated(
        cls,
        of_truth: np.ndarray,
        labels: np.ndarray,
        n_labels: int,
        coverage: float,
        groups: np.ndarray | None = None,
        ratio: np.ndarray | None = None,
    ) -> Self:
        """Return the thresholds from labelled images that nothing was fitted on.

        Args:
            of_truth: posterior of the true label, float (n,). labels: the true labels, int (n,).
            coverage: in [0, 1].
            groups: int (n,); None: each image is its own.
            ratio: by label, its share in use over its share here, float (c,); None: 1.
        """
        ratio = np.ones(n_labels) if ratio is None else ratio
        rows_of = [np.flatnonzero(labels == label) for label in range(n_labels)]
        weights_of = [_weights(groups, rows) for rows in rows_of]
        counts = np.array([round(weights.sum()) for weights in weights_of], np.intp)
        own = np.array([_in_tail(count, coverage) >= IN_TAIL for count in counts], bool)
        least = np.full(n_labels, np.inf)
        for label in np.flatnonzero(own):
            least[label] = _least(of_truth[rows_of[label]], weights_of[label], 1.0, coverage)
        if (~own & (counts > 0)).any():
            weights = _weights(groups, np.arange(len(labels))) * ratio[labels]
            of_all = {new: _least(of_truth, weights, new, coverage) for new in np.unique(ratio).tolist()}
            least = np.minimum(least, [of_all[new] for new in ratio.tolist()])
        else:
            least[~own] = 0.0  # no image shows them
        return cls(least, counts, own)

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


def _in_tail(groups: float, coverage: float) -> int:
    """floor((1 - coverage) (K + 1))."""
    return math.floor((1.0 - coverage) * (groups + 1) + ROUNDING)


def _weights(groups: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Weights of some images by which each group counts one; groups are sorted only where there are any."""
    return np.ones(len(rows)) if groups is None else group_weights(groups[rows])


def _least(of_truth: np.ndarray, weights: np.ndarray, new: float, coverage: float) -> float:
    """Return the greatest posterior with at most 1 - coverage of the weight below it, `new` included; 0: there is none.

    Args:
        new: what the new thing weighs, which may lie anywhere.
    """
    order = np.argsort(of_truth, kind="stable")
    below = np.cumsum(weights[order]) - weights[order] + new
    k = int(np.searchsorted(below, (1.0 - coverage) * (weights.sum() + new) + ROUNDING, side="right"))
    return float(of_truth[order[k - 1]]) if k else 0.0
