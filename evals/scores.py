"""How a panel and each of its agents did on images whose label is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import DatasetError
from consilience.core.prediction import Prediction, look_name
from consilience.orchestrator.ensemble.trust_metrics import score_predictions

FUSION = "fusion"


@dataclass(frozen=True)
class Score:
    """Figures of one agent's look, calibrated, or of the fusion.

    Attributes:
        who: the agent's look, or "fusion".
        n: images that it answered.
        accuracy: [0, 1], with its 95 % interval `low` to `high` (Wilson 1927); NaN where n is 0.
        ece, ocr, ccc, brier: see `consilience.orchestrator.ensemble.trust_metrics`.
        weight: mean share of the total weight, [0, 1]; None for the fusion.
    """

    who: str
    n: int
    accuracy: float
    low: float
    high: float
    ece: float
    ocr: float
    ccc: float
    brier: float
    weight: float | None = None


def scores(diagnoses: Sequence[Diagnosis], truths: Sequence[str]) -> list[Score]:
    """Return a score for each agent's look, in order of appearance, and last one for the fusion.

    Raises:
        DatasetError: another number of labels than of diagnoses, or a label that the panel does not know.
    """
    if len(diagnoses) != len(truths):
        raise DatasetError(f"{len(truths)} labels for {len(diagnoses)} diagnoses")
    if not diagnoses:
        return []
    names = list(diagnoses[0].posterior)
    if unknown := sorted(set(truths) - set(names)):
        raise DatasetError(f"labels that the panel does not know: {', '.join(unknown)}; it knows {', '.join(names)}")
    labels = np.array([names.index(truth) for truth in truths])
    looks: dict[str, list[tuple[int, Prediction]]] = {}
    total = np.array([sum(prediction.weight or 0.0 for prediction in diagnosis.predictions) for diagnosis in diagnoses])
    for row, diagnosis in enumerate(diagnoses):
        for prediction in diagnosis.predictions:
            if prediction.calibrated is not None:
                looks.setdefault(look_name(prediction.agent, prediction.stage), []).append((row, prediction))
    table = []
    for who, answers in looks.items():
        rows = np.array([row for row, _ in answers])
        calibrated = np.array([list((prediction.calibrated or {}).values()) for _, prediction in answers])
        weight = float(
            np.mean([(prediction.weight or 0.0) / total[row] if total[row] else 0.0 for row, prediction in answers])
        )
        table.append(score(who, calibrated, labels[rows], weight))
    posterior = np.array([list(diagnosis.posterior.values()) for diagnosis in diagnoses])
    return [*table, score(FUSION, posterior, labels)]


def accuracy_interval(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of right answers (Wilson 1927); (0, 1) without any.

    >>> [round(bound, 3) for bound in accuracy_interval(9, 10)]
    [0.596, 0.982]
    """
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def score(who: str, probabilities: np.ndarray, labels: np.ndarray, weight: float | None = None) -> Score:
    """Return the score of predictions (n, c), rows of NaN where there is none, for labels int (n,)."""
    answered = np.isfinite(probabilities).all(axis=1)
    probabilities, labels = probabilities[answered], labels[answered]
    scores = score_predictions(probabilities, labels)
    low, high = accuracy_interval(int((probabilities.argmax(axis=1) == labels).sum()), scores.n)
    accuracy = math.nan if scores.accuracy is None else scores.accuracy
    return Score(who, scores.n, accuracy, low, high, scores.ece, scores.ocr, scores.ccc, scores.brier or 0.0, weight)
