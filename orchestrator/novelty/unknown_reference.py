"""How novelty takes images into account that people said show none of the labels.

The sign is by how much nearer the nearest of them lies than the nearest known image, in the Mahalanobis space. It is
ranked among the panel's own images as every sign is, and combined with the novelty by Fisher's sum, whose rank among
the panel's own images is the novelty then: 95 % of known images still pass.

Compared on apple leaves of train/ and val/, each label left out in turn and k of its images given, mean AUROC against
the known of test/, and share of the left-out called novel; known ones called novel: 4 to 5 % for all three.

                                                  k = 0          1              5              20
    Fisher's sum                                  0.938, 60 %    0.974, 83 %    0.985, 92 %    0.990, 95 %
    novel where an example is nearer              0.938, 60 %    0.949, 67 %    0.962, 78 %    0.979, 90 %
    the greater rank, ranked again                0.938, 60 %    0.968, 80 %    0.983, 91 %    0.990, 96 %

In the encoder's own space all were lower (Fisher's sum 0.959, 0.980, 0.988).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.base import Features
from consilience.orchestrator.novelty.knn import knn_distance

UNKNOWN = "unknown_example"
"""The name of the sign."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def vector_keys(features: Features) -> np.ndarray:
    """Return a number for each vector (n, d), uint64 (n,), by which the same vector is found again."""
    factors = np.arange(1, 2 * features.shape[1], 2, dtype=np.uint64) * _GOLDEN
    keys = np.empty(len(features), np.uint64)
    for start in range(0, len(features), 1024):
        bits = np.ascontiguousarray(features[start : start + 1024], np.float32).view(np.uint32)
        keys[start : start + 1024] = (bits * factors).sum(axis=1, dtype=np.uint64)
    return keys


@dataclass(frozen=True)
class UnknownReference:
    """How the panel's own images compare with the examples of the unknown.

    Attributes:
        margins: how much nearer an example is than a known image, ascending, (n,).
        scores: combined with their novelty, ascending, (n,).
    """

    margins: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, novelty: np.ndarray, distances: np.ndarray, rows: Features, unknown: Features) -> Self:
        """Return the reference that known images make.

        Args:
            novelty: of n known images, out of fold, (n,). distances: to the nearest known one, out of fold, (n,).
            rows: the images, whitened, (n, d). unknown: examples of the unknown, whitened, (u, d), u > 0.
        """
        margins = distances - knn_distance(rows, unknown)
        ascending = np.sort(margins)
        return cls(ascending, np.sort(_fisher(novelty, _at_least(margins, ascending) / len(margins), len(margins))))

    def combined(self, novelty: np.ndarray, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the novelty of images (m,) with this sign, and the share of known images less like an example, (m,).

        Args:
            novelty: without the sign, (m,). margins: how much nearer an example is than a known image, (m,).
        """
        n, count = len(self.margins), _at_least(margins, self.margins)
        scores = _fisher(novelty, (count + 1) / (n + 1), n)
        return np.searchsorted(self.scores, scores - 1e-9) / n, 1.0 - count / n


def _at_least(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """How many known images have at least this value, up to rounding, (m,)."""
    return np.asarray(len(ascending) - np.searchsorted(ascending, values - 1e-6))


def _fisher(novelty: np.ndarray, p: np.ndarray, n: int) -> np.ndarray:
    return np.asarray(-np.log(1.0 - novelty + 1.0 / (n + 1)) - np.log(p))
