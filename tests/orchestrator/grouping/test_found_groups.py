"""Which images are taken for one thing: near to each other, and apart from the next thing."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.orchestrator.grouping.average_linkage import average_linkage
from consilience.orchestrator.grouping.found_groups import LITE0_LIMIT, alike_distance

THINGS, VIEWS, DIMENSION = 30, 4, 64


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_views_of_one_thing_that_stand_apart_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    things = np.repeat(rng.standard_normal((THINGS, DIMENSION)), VIEWS, axis=0)
    vectors = unit(things + 0.2 * rng.standard_normal(things.shape))
    labels = [f"label {row // VIEWS % 2}" for row in range(len(vectors))]
    merges = average_linkage(vectors, LITE0_LIMIT)
    distance = alike_distance(vectors, merges, labels, LITE0_LIMIT)
    assert distance == pytest.approx(LITE0_LIMIT)
    clusters = merges.clusters(distance)
    assert np.array_equal(clusters, np.repeat(np.arange(0, THINGS * VIEWS, VIEWS), VIEWS))


@pytest.mark.parametrize("seed", range(3))
def test_images_of_a_label_that_all_look_alike_are_not_cut_into_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = np.repeat(rng.standard_normal((2, DIMENSION)), THINGS * VIEWS // 2, axis=0)
    vectors = unit(clouds + 0.33 * rng.standard_normal(clouds.shape))
    labels = ["rust"] * (THINGS * VIEWS // 2) + ["scab"] * (THINGS * VIEWS // 2)
    merges = average_linkage(vectors, LITE0_LIMIT)
    assert len(np.unique(merges.clusters(LITE0_LIMIT))) < 0.7 * len(vectors)  # each with images of one label alone
    distance = alike_distance(vectors, merges, labels, LITE0_LIMIT)
    assert len(np.unique(merges.clusters(distance))) > 0.97 * len(vectors)
