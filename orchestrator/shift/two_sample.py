"""Does a batch of images come from where the labelled ones come from? A test that counts both samples.

The scores of the batch against those of the held-out images: the one-sided test of Mann and Whitney (1947), within each
cell of scores, summed with the weights of van Elteren (1960), which are best where one shift moves all cells alike.
Under no shift every way to share out the scores of a cell is as probable, so the p-value is that of a permutation test
(Phipson and Smyth 2010); where no permutation comes near, its tail is the normal approximation's.

Groups are not independent: of each, one image is compared (the labelled images' are one a group already).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience.orchestrator.shift.shift_reference import Scores, ShiftReference
from consilience.retrieval.encoders.encoder import Vectors

ALARM_P = 0.001
"""Below this a batch differs. Not 0.01: a panel is one draw of labelled images and is asked about many batches, and
with an unlucky draw every hundredth batch would still seem strange."""

FEWEST_IMAGES, FEWEST_HELD = 10, 4
"""With fewer images that count in the batch, or fewer held-out ones, nothing can be told: of the ways to share out 14
scores among 10 and 4, the least probable has a chance of 1 / 1,001."""

SAMPLE = 200
"""Images of a batch that are compared, at most."""

PERMUTATIONS = 1999


@dataclass(frozen=True)
class BatchShift:
    """Whether a batch of images differs from the labelled ones.

    Attributes:
        images: of the batch, that were compared.
        counted: of these, one of each group.
        held: labelled images that they were compared with, one of each group.
        p: chance of so strange a batch where nothing differs, (0, 1]; None where too few images are there to tell.
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
        vectors: of the n images, float32 (n, d) of unit length, by the reference's encoder.
        ids: n, the images' identities: the labelled ones among them, and one that comes twice, say nothing.
        groups: n, the name of each image's group; None: not known, so that images alike count as one.
    """
    rows = _one_a_group(reference, vectors, ids, groups)
    scores = reference.scores(vectors[rows])
    n, m = len(rows), len(reference.held.distance)
    if n < FEWEST_IMAGES or m < FEWEST_HELD:
        return BatchShift(len(vectors), n, m, None, None, False)
    mean_rank, p = mean_rank_and_p(scores, reference.held)
    return BatchShift(len(vectors), n, m, p, mean_rank, p < ALARM_P)


def mean_rank_and_p(new: Scores, held: Scores) -> tuple[float, float]:
    """Return the mean rank of the new scores among the held-out ones, and the p-value; see `BatchShift`."""
    from scipy.stats import norm, rankdata

    rng = np.random.default_rng(0)
    total, expected, variance, ranks = 0.0, 0.0, 0.0, np.empty(len(new.distance))
    permuted = np.zeros(PERMUTATIONS)
    for cell in np.unique(new.cell):
        here, there = new.distance[new.cell == cell], held.distance[held.cell == cell]
        n, m = len(here), len(there)
        ranks[new.cell == cell] = _ranks(here, there)
        if not m:
            continue
        all_ranks = rankdata(np.r_[here, there]) / (n + m + 1)
        total += float(all_ranks[:n].sum())
        expected += float(n * all_ranks.mean())
        variance += float(all_ranks.var(ddof=1) * n * m / (n + m))
        permuted += rng.permuted(np.broadcast_to(all_ranks, (PERMUTATIONS, n + m)), axis=1)[:, :n].sum(axis=1)
    as_great = int((permuted >= total - 1e-9).sum())
    p = (1 + as_great) / (PERMUTATIONS + 1)
    if as_great == 0 and variance > 0:
        p = min(p, max(float(norm.sf((total - expected) / np.sqrt(variance))), np.finfo(float).tiny))
    return float(ranks.mean()), p


def _ranks(new: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the share of held-out scores below each new one, equal ones by half, (n,); 0.5 without any."""
    if not len(held):
        return np.full(len(new), 0.5)
    ascending = np.sort(held)
    return (np.searchsorted(ascending, new) + np.searchsorted(ascending, new, side="right")) / (2 * len(held))
