"""How undecided the agents are together: entropy of the mean of their probabilities.

COOkeD (Humblot-Renaux et al. 2025, "COOkeD: Ensemble-based OOD detection in the era of zero-shot CLIP"): agents of
different kinds are sure of different wrong labels where an image has none of them, so that their mean is sure of none.
The agents here are calibrated. Entropy told novel images apart a little better than 1 - the greatest probability.
"""

from __future__ import annotations

import numpy as np


def predictive_entropy(calibrated: np.ndarray) -> np.ndarray:
    """Return the entropy in nats, (n,), in [0, log c], of calibrated probabilities (a, n, c), NaN where one is silent.

    Where nobody answered it is log c: nothing is known.

    >>> predictive_entropy(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])).round(3).tolist()
    [0.693]
    """
    mean = mean_of(calibrated)
    return np.asarray(-(mean * np.log(np.maximum(mean, 1e-12))).sum(axis=1))


def mean_of(calibrated: np.ndarray) -> np.ndarray:
    """Return the mean (n, c) over those who answered; uniform where nobody did."""
    answered = np.isfinite(calibrated).all(axis=2)
    total = np.where(answered[:, :, None], calibrated, 0.0).sum(axis=0)
    count = answered.sum(axis=0)[:, None]
    return np.asarray(np.where(count, total / np.maximum(count, 1), 1.0 / calibrated.shape[2]))
