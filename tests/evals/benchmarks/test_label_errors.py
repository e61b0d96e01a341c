"""The benchmark of `suspects`: what it plants, and what is found among real leaves."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.core.progress import quiet
from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.label_errors import found, planted
from consilience.orchestrator.fitting.ingest import ingest
from tests.support.real_data import real_data


def test_so_many_labels_are_replaced_by_others() -> None:
    labels = ["a", "b", "c", "d"] * 10
    changed, is_wrong = planted(labels, ["a", "b", "c", "d"], 12, 0)
    assert is_wrong.sum() == 12
    assert np.array_equal(np.array(labels) != np.array(changed), is_wrong)


@pytest.mark.slow
def test_most_wrong_labels_among_leaves_are_shown_first() -> None:
    leaves = ingest(real_data("apple-leaves") / "train", None, load_settings(), quiet)
    assert (
        found(leaves.labelled_images, leaves.task, leaves.encoder.name, 20, 27, 0) >= 18
    )  # of 512, as 27 in 40 of 800
