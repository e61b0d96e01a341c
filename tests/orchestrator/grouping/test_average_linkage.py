"""Clusters of nearly equal vectors, held against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consilience.orchestrator.grouping import average_linkage as module
from consilience.orchestrator.grouping.average_linkage import average_linkage
from consilience.retrieval.encoders.encoder import Vectors
from tests.support.real_data import real_data


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def clumps(seed: int, number: int, most: int, dimension: int, spread: float) -> Vectors:
    """Return vectors around centres, some of many and some of one."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(number, dimension))
    sizes = rng.integers(1, most + 1, number)
    return unit(np.repeat(centres, sizes, axis=0) + rng.normal(0, spread, (sizes.sum(), dimension)))


def clusters_of(vectors: Vectors, distance: float) -> NDArray[np.intp]:
    return average_linkage(vectors, distance).clusters(distance)


def as_sets(clusters: NDArray[np.integer]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(clusters == cluster).tolist()) for cluster in np.unique(clusters)}


def scipy_clusters(vectors: Vectors, distance: float) -> NDArray[np.integer]:
    from scipy.cluster.hierarchy import fcluster, linkage

    steps = linkage(vectors.astype(np.float64), method="average", metric="cosine")
    clusters: NDArray[np.integer] = fcluster(steps, distance, criterion="distance")
    return clusters


@given(
    seed=st.integers(0, 2**32),
    number=st.integers(1, 12),
    most=st.integers(1, 12),
    dimension=st.integers(2, 24),
    spread=st.floats(0.01, 1.0),
    distance=st.floats(0.005, 1.0),
)
def test_the_clusters_are_those_of_scipy(
    seed: int, number: int, most: int, dimension: int, spread: float, distance: float
) -> None:
    vectors = clumps(seed, number, most, dimension, spread)
    if len(vectors) > 1:
        assert as_sets(clusters_of(vectors, distance)) == as_sets(scipy_clusters(vectors, distance))


@given(seed=st.integers(0, 2**32), share=st.floats(0.0, 1.0))
def test_fewer_merges_give_the_clusters_of_a_smaller_distance(seed: int, share: float) -> None:
    vectors = clumps(seed, 8, 8, 6, 0.5)
    cut = average_linkage(vectors, 0.6).clusters(0.6 * share)
    assert as_sets(cut) == as_sets(clusters_of(vectors, 0.6 * share))


@pytest.mark.parametrize("distance", [0.02, 0.05, 0.1, 0.2])
def test_the_clusters_of_real_vectors_are_those_of_scipy(distance: float) -> None:
    vectors = unit(np.load(real_data("recorded-runs") / "clip_vit_b32_train.npz")["embeddings"])
    assert as_sets(clusters_of(vectors, distance)) == as_sets(scipy_clusters(vectors, distance))


def test_the_clusters_are_the_same_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clumps(1, 40, 9, 16, 0.3)
    whole = clusters_of(vectors, 0.2)
    monkeypatch.setattr(module, "CELLS", 500)
    assert np.array_equal(clusters_of(vectors, 0.2), whole)
    assert 1 < len(np.unique(whole)) < len(vectors)


def test_a_cluster_is_named_by_its_first_member() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0], [0, 1]], np.float32)
    assert clusters_of(vectors, 0.0).tolist() == [0, 1, 2, 0, 1]
    assert clusters_of(vectors, 0.25).tolist() == [0, 1, 1, 0, 1]
    assert clusters_of(vectors, 2.0).tolist() == [0] * 5


def test_none_and_one_are_their_own_clusters() -> None:
    assert clusters_of(np.empty((0, 3), np.float32), 0.1).tolist() == []
    assert clusters_of(np.array([[1, 0]], np.float32), 2.0).tolist() == [0]


def test_thousands_of_equal_vectors_are_one_cluster_at_once() -> None:
    """Each is the nearest of each: merged pair by pair this would take thousands of rounds."""
    vectors = np.array([[1, 0], [0, 1]], np.float32)[np.arange(40_000) % 2]
    assert np.array_equal(clusters_of(vectors, 0.1), np.arange(40_000) % 2)
