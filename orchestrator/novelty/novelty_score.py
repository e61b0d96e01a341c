"""One score of all signs, from their ranks among the panel's own images: Fisher's combination of p-values.

p_j is the share of the known images that sign j finds at least as novel; the score is - sum of w_j log p_j (Fisher
1932; weighted: Good 1955). Its own rank among the known images' scores is the novelty, so that a threshold of 0.95
passes about 95 % of known images. Every known image was judged out of fold: it is not its own neighbour, nor in the
statistics or the heads that judge it.

Signs from the same source share a vote: what the agents said, the labels' means and the nearest image have one each.
Compared on apple leaves of train/ and val/ alone, each label left out in turn, twice, mean AUROC: 0.914; with a full
vote for each of the four signs 0.903; best single sign 0.899. With another ridge (0.3): 0.926 for this sum, 0.925 for
the normal quantiles of p (Stouffer), 0.921 for mean ranks; the greatest rank of the signs stayed 0.02 and more below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np

from consilience.agents.base import LabelledFeatures
from consilience.orchestrator.novelty.disagreement import disagreement
from consilience.orchestrator.novelty.predictive_entropy import predictive_entropy
from consilience.orchestrator.novelty.reference import NoveltyReference
from consilience.orchestrator.novelty.unknown_reference import UNKNOWN, UnknownReference, vector_keys
from consilience.orchestrator.novelty.whitening import Whitening

SIGNS: Mapping[str, float] = MappingProxyType(
    {"predictive_entropy": 0.5, "disagreement": 0.5, "mahalanobis": 1.0, "knn": 1.0}
)
"""Every sign, and its weight in the score."""

Signs = Mapping[str, np.ndarray]
"""By sign, (m,)."""


@dataclass(frozen=True)
class Novelty:
    """The signs of the panel's own images, out of fold, with which those of others are compared.

    Attributes:
        whitening: of the vectors.
        signs: by name, ascending, (n,).
        scores: ascending, (n,).
        keys: of the images' vectors, uint64 (n,), see `vector_keys`; and in their order
        own: the novelty, out of fold, (n,), and
        nearest: the sign `knn`, out of fold, (n,).
        unknown: how they compare with images that show none of the labels; None without such.
    """

    whitening: Whitening
    signs: Signs
    scores: np.ndarray
    keys: np.ndarray
    own: np.ndarray
    nearest: np.ndarray
    unknown: UnknownReference | None = None

    @classmethod
    def fit(cls, data: LabelledFeatures, folds: np.ndarray, calibrated: np.ndarray) -> tuple[Self, np.ndarray]:
        """Fit it to labelled images, their folds int (n,) and calibrated first looks at them, out of fold (a, n, c).

        An image whose fold is negative, such as the only one of a label, is known, but cannot be judged.

        Returns:
            It, and the novelty of each of the m images that are judged, (m,).
        """
        signs, is_judged = {name: np.empty(len(data.labels)) for name in SIGNS} | of_words(calibrated), folds >= 0
        for fold in np.unique(folds[is_judged]):
            held_out, others = folds == fold, data.take(np.flatnonzero(folds != fold))
            by_sign = NoveltyReference.of(Whitening.fit(others), others).signs(data.features[held_out])
            for name, values in by_sign.items():
                signs[name][held_out] = values
        judged = {name: values[is_judged] for name, values in signs.items()}
        ascending = {name: np.sort(values) for name, values in judged.items()}
        n = int(is_judged.sum())
        scores = _fisher({name: _as_novel(values, ascending[name]) / n for name, values in judged.items()})
        own = _share(np.sort(scores), scores)
        keys = vector_keys(data.features[is_judged])
        return cls(Whitening.fit(data), ascending, np.sort(scores), keys, own, judged["knn"]), own

    def beside(self, known: NoveltyReference) -> Novelty:
        """Return the novelty that takes the examples of the unknown into account, if `known` has some."""
        if known.unknown is None or known.keys is None:
            return self
        place = {key: number for number, key in enumerate(self.keys.tolist())}
        pairs = [(row, place[key]) for row, key in enumerate(known.keys.tolist()) if key in place]
        if not pairs:
            return self
        rows, judged = np.array(pairs, dtype=np.intp).T
        reference = UnknownReference.of(self.own[judged], self.nearest[judged], known.rows[rows], known.unknown)
        return replace(self, unknown=reference)

    def of(self, signs: Signs) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return novelty (m,), and by sign the share of known images that are less novel, (m,); all in [0, 1].

        Args:
            signs: all of SIGNS; and UNKNOWN, where examples of the unknown are known.
        """
        n = len(self.scores)
        at_least = {name: _as_novel(signs[name], self.signs[name]) for name in SIGNS}
        score = _fisher({name: (count + 1) / (n + 1) for name, count in at_least.items()})
        novelty, shares = _share(self.scores, score), {name: 1.0 - count / n for name, count in at_least.items()}
        if self.unknown is not None and UNKNOWN in signs:
            novelty, shares[UNKNOWN] = self.unknown.combined(novelty, signs[UNKNOWN])
        return novelty, shares

    def arrays(self) -> dict[str, np.ndarray]:
        """Return arrays for a file, which `from_arrays` restores."""
        return {
            **self.whitening.arrays(),
            "scores": self.scores,
            "keys": self.keys,
            "own": self.own,
            "nearest": self.nearest,
            **{f"sign-{name}": self.signs[name] for name in SIGNS},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore what `arrays` returned."""
        signs = {name: arrays[f"sign-{name}"] for name in SIGNS}
        in_order = arrays["keys"], arrays["own"], arrays["nearest"]
        return cls(Whitening.from_arrays(arrays), signs, arrays["scores"], *in_order)


def of_words(calibrated: np.ndarray) -> dict[str, np.ndarray]:
    """Return the signs in calibrated first looks (a, n, c), (n,) each."""
    return {"predictive_entropy": predictive_entropy(calibrated), "disagreement": disagreement(calibrated)}


def _share(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.searchsorted(ascending, scores - 1e-9) / len(ascending)


def _as_novel(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """How many known images are at least as novel, up to rounding, (m,)."""
    return np.asarray(len(ascending) - np.searchsorted(ascending, values - 1e-6))


def _fisher(p: Signs) -> np.ndarray:
    return np.asarray(sum(-weight * np.log(p[name]) for name, weight in SIGNS.items()))
