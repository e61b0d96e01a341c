"""The figures that an agent's trust is made of: ECE, OCR, CCC (arXiv 2507.10571, section 3) and Brier score.

All are pure functions on arrays. `confidence` float (n,) in [0, 1] is how sure an agent was of the label
that it named; `correct` bool (n,) is whether that label was right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consilience.core.prediction import Stage
from consilience.core.trust import Trust

OVERCONFIDENT = 0.8
"""From this confidence on, a wrong prediction counts as overconfident."""


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Return the ECE, [0, 1], lower is better: mean of |accuracy - mean confidence| of each image's bin.

    Bins have equal width; bin i is (i / bins, (i + 1) / bins], the first one holds 0 too (Naeini et al.
    2015; Guo et al. 2017). Without images it is 0.

    >>> expected_calibration_error(np.array([1.0, 1.0]), np.array([True, False]))
    0.5
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not len(confidence):
        return 0.0
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, confidence, side="left")
    gap = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def overconfidence_ratio(confidence: np.ndarray, correct: np.ndarray, threshold: float = OVERCONFIDENT) -> float:
    """Return the OCR, [0, 1], lower is better: share of all predictions that are wrong with confidence >= threshold.

    >>> overconfidence_ratio(np.array([0.8, 0.79, 0.9, 1.0]), np.array([False, False, True, False]))
    0.5
    """
    if not len(confidence):
        return 0.0
    return float(np.mean((np.asarray(confidence) >= threshold) & ~np.asarray(correct, dtype=bool)))


def confidence_correctness_correlation(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the CCC, [-1, 1], higher is better: Pearson correlation of confidence with being right.

    0 where it is undefined: no spread in confidence, or all right, or all wrong.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if len(confidence) < 2 or np.ptp(confidence) < 1e-12 or np.ptp(correct) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(confidence, correct)[0, 1], -1.0, 1.0))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the multiclass Brier score, [0, 2], lower is better: mean squared distance of (n, c) to one-hot labels."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean()) if len(labels) else 0.0


def negative_log_likelihood(probability_of_truth: np.ndarray) -> float | None:
    """Return the log loss, lower is better: mean negative log probability of the true label, float (n,) in [0, 1].

    A probability of 0 counts as the smallest difference from 1 that a float can hold, as in scikit-learn. Without
    images it is None.

    >>> round(negative_log_likelihood(np.array([0.5, 0.25])) or 0.0, 4)
    1.0397
    """
    if not len(probability_of_truth):
        return None
    return float(-np.log(np.clip(probability_of_truth, np.finfo(np.float64).eps, 1.0)).mean())


@dataclass(frozen=True, slots=True)
class PredictionScores:
    """The figures of n predictions for images whose label is known.

    Attributes:
        n: predictions.
        accuracy, brier, log_loss: None where n is 0.
        ece, ocr, ccc: see the functions of this module; 0 where n is 0.
    """

    n: int
    accuracy: float | None
    ece: float
    ocr: float
    ccc: float
    brier: float | None
    log_loss: float | None


def score_predictions(probabilities: np.ndarray, labels: np.ndarray) -> PredictionScores:
    """Return the figures of predictions, float (n, c), each row with sum 1, for labels int (n,)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return score_columns(
        probabilities.max(axis=1),
        probabilities.argmax(axis=1) == labels,
        ((probabilities - truth) ** 2).sum(axis=1),
        probabilities[np.arange(len(labels)), labels],
    )


def score_columns(
    confidence: np.ndarray, correct: np.ndarray, squared_distance: np.ndarray, probability_of_truth: np.ndarray
) -> PredictionScores:
    """Return the figures of predictions from what is needed of each, (n,): a million of them take 25 MB.

    Args:
        confidence: probability of the named label, float in [0, 1].
        correct: whether the named label is the true one, bool.
        squared_distance: of the probabilities to the one-hot label, float in [0, 2].
        probability_of_truth: float in [0, 1].
    """
    n = len(confidence)
    return PredictionScores(
        n,
        float(correct.mean()) if n else None,
        expected_calibration_error(confidence, correct),
        overconfidence_ratio(confidence, correct),
        confidence_correctness_correlation(confidence, correct),
        float(squared_distance.mean(dtype=np.float64)) if n else None,
        negative_log_likelihood(probability_of_truth.astype(np.float64)),
    )


def measure(agent: str, stage: Stage, probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Trust:
    """Return an agent's trust from labelled predictions that it was not fitted on.

    Args:
        probabilities: float (n, c), calibrated; a row of NaN where the agent abstained or failed: such
            rows count nowhere, since a failure is no prediction. Without any other, nothing is known (n is 0).
        labels: int (n,), indices into `names`.
    """
    answered = np.isfinite(probabilities).all(axis=1)
    probabilities, labels = probabilities[answered], labels[answered]
    named = probabilities.argmax(axis=1)
    counts = np.zeros((len(names), len(names)), dtype=np.intp)
    np.add.at(counts, (labels, named), 1)
    confusion = {true: dict(zip(names, row, strict=True)) for true, row in zip(names, counts.tolist(), strict=True)}
    scores = score_predictions(probabilities, labels)
    return Trust(
        agent=agent,
        stage=stage,
        n=scores.n,
        ece=scores.ece,
        ocr=scores.ocr,
        ccc=scores.ccc,
        accuracy=scores.accuracy,
        brier=scores.brier,
        confusion=confusion,
    )
