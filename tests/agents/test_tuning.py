"""Leave-one-out statistics: nobody is a neighbour of itself, and large memories are sampled."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference

from consilience.agents.tuning import MOST, log_loss, nearest_labels, sample, similarities_to_others


def unit(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_all_images_are_used_up_to_a_limit_and_then_a_fixed_sample() -> None:
    assert sample(MOST).tolist() == list(range(MOST))
    chosen = sample(MOST + 500)
    assert len(set(chosen.tolist())) == MOST
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, sample(MOST + 500))


def test_an_image_is_not_similar_to_itself() -> None:
    features, rows = unit(10), np.array([2, 7])
    similarities = similarities_to_others(features, rows)
    assert similarities[[0, 1], rows].tolist() == [-np.inf, -np.inf]
    others = np.ones((2, 10), bool)
    others[[0, 1], rows] = False
    np.testing.assert_allclose(similarities[others], (features[rows] @ features.T)[others], atol=1e-6)


def test_the_nearest_others_come_nearest_first() -> None:
    features, labels = unit(12), np.arange(12) % 3
    own, near, similarities = nearest_labels(features, labels, 4)
    assert np.array_equal(own, labels)
    for row in range(12):
        order = [other for other in np.argsort(-(features @ features[row])) if other != row][:4]
        assert near[row].tolist() == labels[order].tolist()
        np.testing.assert_allclose(similarities[row], features[order] @ features[row], atol=1e-6)
    assert nearest_labels(features, labels, 100)[1].shape == (12, 11)


def test_log_loss_is_what_scikit_learn_says_and_finite_at_0() -> None:
    probabilities, labels = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]), np.array([0, 1, 1])
    assert log_loss(probabilities, labels) == pytest.approx(reference(labels, probabilities))
    assert np.isfinite(log_loss(np.array([[1.0, 0.0]]), np.array([1])))
