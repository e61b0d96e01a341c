"""What it tells that an agent looked and named no label: some say nothing where they would have to say "healthy".

How often an agent is silent where y is true is counted on the labelled images, and drawn to how often it is silent at
all: agents that are silent by chance keep to that, and their silence says nothing (`dirichlet.likeliest_strength`). A
failed call is no silence: it tells of the server, not of the image.

Measured (`evals.benchmarks.weighing`, "each silent on a label"): 0.888, 0.913 and 0.932 are right with 20, 100 and 320
labelled images, where the same answers without what silence says give 0.837, 0.870 and 0.902. On ten tables of real
models' answers, silent on 1 to 15 % of the images, accuracy rises by 0 to 0.5 points, log loss by at most 0.002.
"""

from __future__ import annotations

import numpy as np

from consilience.agents.base import one_hot
from consilience.core.prediction import Prediction, Stage
from consilience.orchestrator.ensemble.dirichlet import drawn_to, likeliest_strength

SILENT = -np.inf
"""Fills the row of an agent that looked and named no label. One that failed, or did not look, has a row of NaN."""

USUAL_IMAGES = 16.0
"""For how many images of a label it usually counts that an agent is as often silent there as elsewhere."""

WEIGHT = 0.5
"""How much silence counts. What makes one agent silent, such as a picture that shows little, often makes others so."""


def unsaid(abstained: bool, stage: Stage) -> float:
    """Return what fills the row of an agent that named no label: SILENT or NaN.

    Who abstains in a second look is counted by its first.
    """
    return SILENT if abstained and stage == "first" else np.nan


def raw_answer(prediction: Prediction) -> list[float] | float:
    """Return what stands in the row of an agent's answer: its probabilities, or what fills it, see `unsaid`."""
    if prediction.probabilities is None:
        return unsaid(prediction.abstained, prediction.stage)
    return [*prediction.probabilities.values()]


def silent(probabilities: np.ndarray) -> np.ndarray:
    """Return which rows of (..., c) are of agents that looked and named no label, bool (...)."""
    return np.asarray(np.isneginf(probabilities[..., 0]))


def silence_evidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return by member and label what silence adds to the log posterior, (a, c); 0 for members that were never silent.

    Args:
        probabilities: first looks at labelled images, (a, n, c), rows of SILENT or NaN where nothing was named.
        labels: int (n,).
    """
    is_silent, answered = silent(probabilities), np.isfinite(probabilities).all(axis=-1)
    of_label = one_hot(labels, probabilities.shape[2])
    counts = np.stack([is_silent @ of_label, answered @ of_label], axis=-1)
    tells = is_silent.any(axis=1)
    added = np.zeros(counts.shape[:2])
    if tells.any():
        totals = counts[tells].sum(axis=1, keepdims=True)
        usual = (totals + 0.5) / (totals.sum(axis=-1, keepdims=True) + 1.0)
        shares = np.broadcast_to(usual, counts[tells].shape)
        strength = likeliest_strength(counts[tells], shares, USUAL_IMAGES)
        added[tells] = WEIGHT * np.log(drawn_to(counts[tells], shares, strength) / shares)[..., 0]
    return added
