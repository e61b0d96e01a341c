"""GLAD and MACE of crowd-kit find the labels that agents agree on; where it is missing, the message says what to do."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from consilience.core.errors import MissingExtraError
from consilience.evals.benchmarks.weighing.crowd_methods import CROWD_METHODS
from consilience.evals.benchmarks.weighing.pooling_methods import Split
from consilience.evals.benchmarks.weighing.simulated_agents import simulated


@pytest.mark.parametrize("name", CROWD_METHODS)
def test_agreement_finds_the_labels(name: str) -> None:
    raw, labels = simulated("words", 120, 0)
    raw[:, 119] = np.nan
    split = Split(raw[:, :20], labels[:20], raw[:, 20:], labels[20:])
    if find_spec("crowdkit") is None:
        with pytest.raises(MissingExtraError, match=r"benchmark"):
            CROWD_METHODS[name](split)
        return
    posterior = CROWD_METHODS[name](split)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    np.testing.assert_allclose(posterior[99], split.shares)
    assert (posterior.argmax(axis=1) == split.truth).mean() > 0.7
