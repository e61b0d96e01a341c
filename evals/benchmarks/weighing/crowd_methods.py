"""GLAD and MACE of crowd-kit: labels from agreement, of labelled and new images together, without the known labels.

crowd-kit is the extra `benchmark`; both need seconds to minutes a draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from consilience.core.errors import import_extra
from consilience.evals.benchmarks.weighing.pooling_methods import Method, Split, answered


def glad(split: Split) -> np.ndarray:
    """Return the labels by agents' skill and images' difficulty (Whitehill et al. 2009)."""
    return _by_agreement(import_extra("crowdkit.aggregation", "benchmark").GLAD(), split)


def mace(split: Split) -> np.ndarray:
    """Return the labels by how often each agent knows, or else guesses (Hovy et al. 2013)."""
    return _by_agreement(import_extra("crowdkit.aggregation", "benchmark").MACE(), split)


CROWD_METHODS: Mapping[str, Method] = {"GLAD": glad, "MACE": mace}


def _by_agreement(method: Any, split: Split) -> np.ndarray:
    raw, known = np.concatenate([split.known, split.new], axis=1), len(split.labels)
    agents, images = np.nonzero(answered(raw))
    named = raw[agents, images].argmax(axis=1)
    votes = import_extra("pandas", "benchmark").DataFrame({"task": images, "worker": agents, "label": named})
    found = method.fit_predict_proba(votes)
    posterior = np.tile(split.shares * 1e-6, (raw.shape[1], 1))
    posterior[np.ix_(found.index.to_numpy(), found.columns.to_numpy())] += found.to_numpy()
    posterior[~answered(raw).any(axis=0)] = split.shares
    posterior = posterior[known:]
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True))
