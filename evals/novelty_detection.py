"""Novelty against the truth: how well it tells images of no known label from those of known labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.evals.rows import read_rows
from consilience.orchestrator.novelty.novelty_score import SIGNS

KNOWN_PASSED = 0.95
"""Share of the novel images that is to be found, for the rate of false alarms."""


@dataclass(frozen=True)
class Detection:
    """One score, known against novel images.

    Attributes:
        auroc: chance that a novel image scores higher than a known one, [0, 1], higher is better; a tie counts half.
        fpr_at_95: share of known images called novel by the threshold that finds 95 % of the novel ones, [0, 1], lower
            is better.
    """

    auroc: float
    fpr_at_95: float


@dataclass(frozen=True)
class KnownNovel:
    """Images of known labels and others.

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
    """Of scores (n,) and (m,), higher = more novel.

    >>> detection(np.array([0.1, 0.2, 0.6]), np.array([0.5, 0.9]))
    Detection(auroc=0.8333333333333334, fpr_at_95=0.3333333333333333)
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    truth, scores = np.r_[np.zeros(len(known)), np.ones(len(novel))], np.r_[known, novel]
    false, detected, _ = roc_curve(truth, scores, drop_intermediate=False)
    return Detection(float(roc_auc_score(truth, scores)), float(false[np.argmax(detected >= KNOWN_PASSED)]))


def compared(known: Mapping[str, np.ndarray], novel: Mapping[str, np.ndarray], most: float) -> KnownNovel | None:
    """Known against novel images: of each the novelty under "", and each sign under its name, (n,) and (m,).

    None where one of them is empty. Args: most: above this novelty an image is called novel.
    """
    if not len(known[""]) or not len(novel[""]):
        return None
    by_score = {name: detection(known[name], novel[name]) for name in known if name in novel}
    known_called, novel_called = (float((scores[""] > most).mean()) for scores in (known, novel))
    return KnownNovel(len(known[""]), len(novel[""]), known_called, novel_called, by_score.pop(""), by_score)


def read(folder: Path, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """The novelty of an evaluation's images, and each sign, as for `compared`; no signs from panels that know none."""
    rows = [row for batch in read_rows(folder, labels, ("novelty", "novelty_signs")) for row in batch.to_pylist()]
    rows = [row for row in rows if row["novelty"] is not None]
    scores = {"": np.array([row["novelty"] for row in rows])}
    if all(row["novelty_signs"] is not None for row in rows):
        scores |= {name: np.array([row["novelty_signs"][name] for row in rows]) for name in SIGNS}
    return scores


def of_diagnoses(novelties: Iterable[tuple[float | None, Mapping[str, float]]]) -> dict[str, np.ndarray]:
    """From the novelty and the signs of diagnoses, as for `compared`."""
    pairs = list(novelties)
    scores = {"": np.array([novelty for novelty, _ in pairs], np.float64)}
    return scores | {name: np.array([signs[name] for _, signs in pairs]) for name in SIGNS}
