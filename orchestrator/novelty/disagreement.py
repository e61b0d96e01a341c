"""How far the agents are from each other: mean total variation between each agent's probabilities and their mean.

Members of an ensemble that were right for different reasons part where none of the reasons holds (Lakshminarayanan et
al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles", section 3.5).
"""

from __future__ import annotations

import numpy as np

from consilience.orchestrator.novelty.predictive_entropy import mean_of


def disagreement(calibrated: np.ndarray) -> np.ndarray:
    """Return it, (n,), in [0, 1), of calibrated probabilities (a, n, c), NaN where one is silent; 0 for one agent.

    >>> disagreement(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])).tolist()
    [0.5]
    """
    answered = np.isfinite(calibrated).all(axis=2)
    apart = 0.5 * np.abs(np.where(answered[:, :, None], calibrated - mean_of(calibrated), 0.0)).sum(axis=2)
    return np.asarray(apart.sum(axis=0) / np.maximum(answered.sum(axis=0), 1))
