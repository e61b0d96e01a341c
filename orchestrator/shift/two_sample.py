"""Does a batch of images come from where the labelled ones come from? A test that counts both samples.

The scores of the batch against those of the held-out labelled images, by the one-sided test of Mann and Whitney (1947):
exact where a sample is small, else with the normal approximation. Images of one group say the same, so of each group
one is compared; the held-out images are one a group already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience.orchestrator.grouping.average_linkage import average_linkage
from consilience.orchestrator.shift.shift_reference import ShiftReference, chances
from consilience.retrieval.encoders.encoder import Vectors

ALARM_P = 0.001
"""Below this a batch differs. Not 0.01: a panel is one draw of labelled images and is asked about many batches, and
with an unlucky draw far more than a hundredth of them would seem strange."""

FEWEST_IMAGES = 10
"""With fewer new images nothing is told; nor where even the strangest batch would have a p-value of ALARM_P or more. A
way to share out the scores of 10 new and 4 held-out images has a chance of 1 / 1,001; of 10 and 3, of 1 / 286."""

SAMPLE = 200
"""Images of a batch that are compared, at most."""

EXACT_BELOW = 25
"""Where a sample has fewer images than this, the p-value is exact."""


@dataclass(frozen=True)
class BatchShift:
    """Whether a batch of images differs from the labelled ones.

    Attributes:
        images: that were looked at.
        counted: of these, one of each group.
        held: labelled images that they were compared with, one of each group.
        p: chance of a batch as strange where nothing differs, [0, 1]; None where too few images are there to tell.
        mean_rank: share of the held-out images that are less strange than an image of the batch, on average, [0, 1];
            about 0.5 where nothing differs; None as above.
        alarm: whether p is below ALARM_P.
    """

    images: int
    counted: int
    held: int
    p: float | None
    mean_rank: float | None
    alarm: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return dict(self.__dict__)


NOT_TESTED = BatchShift(0, 0, 0, None, None, False)
"""Of a batch that is not to be compared."""


def compared(
    reference: ShiftReference, vectors: Vectors, ids: Sequence[str] = (), groups: Sequence[str] | None = None
) -> BatchShift:
    """Return whether images differ from the labelled ones.

    Args:
        reference: what they are compared with.
        vectors: of the n images, float32 (n, d) of unit length, by the reference's encoder.
        ids: n, the images' identities: labelled ones among them say nothing; empty: not known.
        groups: n, the name of each image's group; None: not known, so that images alike count as one.
    """
    rows = np.array([row for row in range(len(vectors)) if not ids or ids[row] not in reference.ids], np.intp)
    chance = chances(f"{ids[row] if ids else row}" for row in rows)
    rows, new = rows[np.argsort(chance, kind="stable")], len(rows)
    if groups is not None:
        rows = _first_of_each(rows, np.array([groups[row] for row in rows]))
    else:
        things = math.ceil(new / reference.images_a_thing)
        alike = average_linkage(vectors[rows], reference.same_thing).clusters(reference.same_thing)
        rows = _first_of_each(rows, alike)[:things]
    counted, held = len(rows), len(reference.held)
    if new < FEWEST_IMAGES or math.comb(counted + held, held) * ALARM_P <= 1.0:
        return BatchShift(len(vectors), counted, held, None, None, False)
    mean_rank, p = mean_rank_and_p(reference.scores(vectors[rows]), reference.held)
    return BatchShift(len(vectors), counted, held, p, mean_rank, p < ALARM_P)


def mean_rank_and_p(new: np.ndarray, held: np.ndarray) -> tuple[float, float]:
    """Return the mean rank of new scores (n,) among held-out ones (m,), and the p-value; see `BatchShift`."""
    from scipy.stats import mannwhitneyu

    has_ties = len(np.unique(np.r_[new, held])) < len(new) + len(held)
    is_exact = min(len(new), len(held)) < EXACT_BELOW and not has_ties
    test = mannwhitneyu(new, held, alternative="greater", method="exact" if is_exact else "asymptotic")
    return float(test.statistic / (len(new) * len(held))), float(test.pvalue)


def sampled(images: int, seed: int = 0) -> np.ndarray:
    """Return which images of a batch are compared, ascending int (s,): all, or a fixed random SAMPLE of them."""
    if images <= SAMPLE:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, SAMPLE, replace=False))


def _first_of_each(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.asarray(rows[np.sort(np.unique(groups, return_index=True)[1])], dtype=np.intp)
