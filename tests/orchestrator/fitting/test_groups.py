"""A fit on images in groups: nobody is judged by a second picture of what it has learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import consilience
from consilience.agents import AgentInput
from consilience.core.errors import DatasetError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.panel.panel import Panel

GROUPS, VIEWS = 40, 5


def vectors_of_things(path: Path, groups: np.ndarray | None = None) -> Path:
    """Write vectors of things, five alike of each, whose label cannot be learned from other things."""
    rng = np.random.default_rng(0)
    things = np.repeat(rng.standard_normal((GROUPS, 24)), VIEWS, axis=0)
    embeddings = things + 0.05 * rng.standard_normal(things.shape)
    labels = np.repeat(np.array(["left", "right"])[rng.permutation(GROUPS) % 2], VIEWS)
    names = np.array([f"{group}-{view}" for group in range(GROUPS) for view in range(VIEWS)])
    arrays = {"embeddings": embeddings.astype(np.float32), "labels": labels, "names": names}
    np.savez(path, allow_pickle=False, **(arrays if groups is None else arrays | {"groups": groups}))
    return path


class Onlooker:
    """An agent that knows nothing, and notes which cases it is shown with which image."""

    name, can_revise = "onlooker", True

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        return [Prediction(self.name, probabilities={"left": 0.5, "right": 0.5})] * len(inputs)

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        self.shown += [[case.source for case in item.neighbours] for item in evidence]
        return [Prediction(self.name, "second", {"left": 0.5, "right": 0.5})] * len(inputs)


def test_the_claim_is_for_new_things(tmp_path: Path) -> None:
    groups, onlooker = np.repeat([f"thing {group}" for group in range(GROUPS)], VIEWS), Onlooker()
    source = vectors_of_things(tmp_path / "vectors.npz", groups=groups)
    report = consilience.fit(source, tmp_path / "panel", agents=["probe", "gaussian", "neighbours", onlooker])
    panel = Panel.open(tmp_path / "panel")
    assert panel.labelled_images.groups == tuple(groups)
    claim = panel.claim(PolicySettings())
    assert claim is not None
    assert claim == report.panel.claim(PolicySettings())
    assert (claim.images, claim.groups) == (GROUPS * VIEWS, GROUPS)
    assert claim.accuracy < 0.7  # by chance
    assert claim.ungrouped_accuracy is not None
    assert claim.ungrouped_accuracy > 0.95
    assert claim.interval[0] < 0.5 < claim.interval[1]
    for row, shown in enumerate(onlooker.shown):
        assert not [case for case in shown if case.startswith(f"{row // VIEWS}-")]
    assert len(onlooker.shown) == GROUPS * VIEWS


def test_without_groups_nothing_is_said_of_them(tmp_path: Path) -> None:
    source = vectors_of_things(tmp_path / "vectors.npz")
    panel = consilience.fit(source, tmp_path / "panel", agents=["probe"], group="none").panel
    claim = panel.claim(PolicySettings())
    assert claim is not None
    assert (claim.groups, claim.ungrouped_accuracy) == (GROUPS * VIEWS, None)


def test_groups_that_do_not_fit_the_vectors_are_refused(tmp_path: Path) -> None:
    source = vectors_of_things(tmp_path / "vectors.npz", groups=np.array(["a", "b"]))
    with pytest.raises(DatasetError, match="'groups' is"):
        consilience.fit(source, tmp_path / "panel", agents=["probe"])
