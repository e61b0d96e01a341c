"""Novelty against the truth: how well it tells images of no known label from those of known labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.evals.rows import read_rows
from consilience.orchestrator.novelty.novelty_score import SIGNS

NOVEL_FOUND = 0.95
"""Share of the novel images that `fpr_at_95` asks to be found."""


@dataclass(frozen=True)
class Detection:
    """How well one score tells novel images from known ones.

    Attributes:
        auroc: chance that a novel image scores higher than a known one, [0, 1], higher is better; a tie counts half.
        fpr_at_95: share of known images called novel by the threshold that finds 95 % of the novel ones, [0, 1], lower
            is better.
    """

    auroc: float
    fpr_at_95: float


@dataclass(frozen=True)
class KnownNovel:
    """How well novelty tells images of no known label from those of known labels.

    Attributes:
        known, novel: images of each kind. known_called, novel_called: share of them called novel, [0, 1].
        score: by the novelty. signs: by each sign alone.
    """

    known: int
    novel: int
    known_called: float
    novel_called: float
    score: Detection
    signs: Mapping[str, Detection]


def detection(known: np.ndarray, novel: np.ndarray) -> Detection:
    """Return how well scores tell known images (n,) from novel ones (m,); higher = more novel.

    >>> detection(np.array([0.1, 0.2, 0.6]), np.array([0.5, 0.9]))
    Detection(auroc=0.8333333333333334, fpr_at_95=0.3333333333333333)
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    truth, scores = np.r_[np.zeros(len(known)), np.ones(len(novel))], np.r_[known, novel]
    false, detected, _ = roc_curve(truth, scores, drop_intermediate=False)
    return Detection(float(roc_auc_score(truth, scores)), float(false[np.argmax(detected >= NOVEL_FOUND)]))


def compared(known: Mapping[str, np.ndarray], novel: Mapping[str, np.ndarray], most: float) -> KnownNovel | None:
    """Return how well the novelty tells novel images from known ones; None where there are none of a kind.

    Args:
        known, novel: the novelty of the images under "", and each sign under its name, float (n,) and (m,).
        most: above this novelty an image is called novel.
    """
    if not len(known[""]) or not len(novel[""]):
        return None
    by_score = {name: detection(known[name], novel[name]) for name in known if name in novel}
    known_called, novel_called = (float((scores[""] > most).mean()) for scores in (known, novel))
    return KnownNovel(len(known[""]), len(novel[""]), known_called, novel_called, by_score.pop(""), by_score)


def read(folder: Path, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the novelty of an evaluation's images, and each sign, as `compared` takes them.

    Raises:
        EvaluationError: see `read_rows`.
    """
    rows = [row for batch in read_rows(folder, labels, ("novelty", "novelty_signs")) for row in batch.to_pylist()]
    rows = [row for row in rows if row["novelty"] is not None]
    return _by_name([(row["novelty"], row["novelty_signs"]) for row in rows])


def of_diagnoses(novelties: Iterable[tuple[float | None, Mapping[str, float]]]) -> dict[str, np.ndarray]:
    """Return the novelty and the signs of diagnoses, as `compared` takes them."""
    return _by_name(list(novelties))


def _by_name(pairs: Sequence[tuple[float | None, Mapping[str, float | None]]]) -> dict[str, np.ndarray]:
    """Novelty under "", and each sign that all of them have under its name, float (n,)."""
    by_sign = {name: [signs.get(name) for _, signs in pairs] for name in SIGNS}
    scores = {"": [novelty for novelty, _ in pairs]} | by_sign
    return {name: np.array(values, np.float64) for name, values in scores.items() if name == "" or None not in values}
