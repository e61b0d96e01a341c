"""The benchmark of `suggest`: what is asked for comes from the pool, each image once."""

from __future__ import annotations

import numpy as np

from consilience.agents import LabelledFeatures
from consilience.core.task import Task
from consilience.evals.benchmarks.suggest import asked


def test_each_round_asks_for_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    vectors = rng.normal(size=(60, 8)) + 2.0 * np.eye(8)[labels]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    data, start = LabelledFeatures(vectors, labels, 2), np.array([0, 1, 30, 31])
    rows = asked(Task.from_labels(["one", "other"]), data, start, labels=10, rounds=3)
    assert rows[:4].tolist() == start.tolist()
    assert len(set(rows.tolist())) == len(rows) == 14
    again = asked(Task.from_labels(["one", "other"]), data, start, labels=10, rounds=3)
    assert again.tolist() == rows.tolist()
