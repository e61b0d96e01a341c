"""Labelled vectors around five centres, and new ones from there or from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.retrieval.memory.labelled_images import LabelledImages

WIDTH = 24

Drawn = Callable[..., np.ndarray]


def draw(n: int, seed: int, *, away: float = 0.0, spread: float = 0.15) -> np.ndarray:
    """Unit vectors, float32 (n, WIDTH), around five centres; `away`: how far they are moved in one other direction."""
    rng = np.random.default_rng(seed)
    vectors = np.eye(5, WIDTH)[rng.integers(5, size=n)] + spread * rng.standard_normal((n, WIDTH))
    vectors += away * np.eye(1, WIDTH, 20)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def labelled(vectors: np.ndarray, groups: Sequence[str] = ()) -> LabelledImages:
    ids = tuple(f"labelled {row}" for row in range(len(vectors)))
    return LabelledImages(ids, ("leaf",) * len(ids), ids, vectors, groups=tuple(groups))


def reference_of(vectors: np.ndarray, groups: Sequence[str] = (), grouping: Grouping = NO_GROUPING) -> ShiftReference:
    return ShiftReference.of(labelled(vectors, groups), "encoder", grouping)


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    return draw


@pytest.fixture(scope="session")
def make_reference() -> Callable[..., ShiftReference]:
    return reference_of


@pytest.fixture(scope="session")
def reference() -> ShiftReference:
    """Of 300 labelled images, a third of them held out."""
    return reference_of(draw(300, 0))
