"""Novelty: each sign by hand or by an independent library, and the score of them all on known and strange vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import combine_pvalues, entropy
from sklearn.metrics import roc_auc_score

from consilience.agents import LabelledFeatures
from consilience.agents.heads.gaussian import regularised, statistics_of
from consilience.orchestrator.novelty import novelty_score as score
from consilience.orchestrator.novelty.disagreement import disagreement
from consilience.orchestrator.novelty.novelty_score import SIGNS, Novelty, of_words
from consilience.orchestrator.novelty.predictive_entropy import predictive_entropy
from consilience.orchestrator.novelty.reference import NoveltyReference
from consilience.orchestrator.novelty.unknown_reference import UNKNOWN, UnknownReference, vector_keys
from consilience.orchestrator.novelty.whitening import RIDGE, Whitening

SILENT = [np.nan, np.nan]


def data(blobs: Any, n: int = 120, seed: int = 0) -> LabelledFeatures:
    vectors, labels = blobs.drawn(n, seed)
    return LabelledFeatures(vectors, np.array([blobs.names.index(label) for label in labels]), 3)


def words(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Two agents that go by the similarity to the centres, (2, n, 3)."""
    near = np.exp(np.array([3.0, 6.0])[:, None, None] * (vectors @ centres.T))
    shares: np.ndarray = near / near.sum(axis=2, keepdims=True)
    return shares


def fitted(blobs: Any, n: int = 120) -> tuple[Novelty, np.ndarray, NoveltyReference]:
    known = data(blobs, n)
    novelty, own = Novelty.fit(known, np.arange(n) % 5, words(known.features, blobs.centres))
    return novelty, own, NoveltyReference.of(novelty.whitening, known)


def judged(
    blobs: Any, novelty: Novelty, known: NoveltyReference, vectors: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return novelty.of(of_words(words(vectors, blobs.centres)) | known.signs(vectors))


def test_the_entropy_is_that_of_the_mean_of_those_who_answered() -> None:
    predictions = np.array([[[0.9, 0.1], SILENT, SILENT], [[0.5, 0.5], [0.8, 0.2], SILENT]])
    assert predictive_entropy(predictions) == pytest.approx([entropy([0.7, 0.3]), entropy([0.8, 0.2]), np.log(2)])


def test_disagreement_is_the_mean_distance_from_the_mean() -> None:
    predictions = np.array([[[0.9, 0.1], SILENT, SILENT], [[0.5, 0.5], [0.8, 0.2], SILENT]])
    assert disagreement(predictions) == pytest.approx([0.2, 0.0, 0.0])


def test_distances_between_whitened_vectors_are_mahalanobis_distances(blobs: Any) -> None:
    known = data(blobs)
    whitening = Whitening.fit(known)
    _, scatter = regularised(statistics_of(known.features, known.labels, 3), RIDGE, np.ones(known.features.shape[1]))
    inverse = np.linalg.inv(scatter)
    raw = (known.features - whitening.centre) @ whitening.root
    pairs = [(0, 1), (5, 17), (30, 99)]
    expected = [mahalanobis(known.features[i], known.features[j], inverse) for i, j in pairs]
    distances = [np.linalg.norm(raw[i] - raw[j]) for i, j in pairs]
    assert np.array(distances) / expected == pytest.approx([distances[0] / expected[0]] * 3, rel=1e-4)


def test_signs_of_a_known_image_and_of_the_opposite_direction(blobs: Any) -> None:
    _, _, known = fitted(blobs)
    there = data(blobs).features[:1]
    away = 2 * known.whitening.centre - there
    assert known.signs(there)["knn"] == pytest.approx(0.0, abs=1e-6)
    assert known.signs(away)["knn"] > 0.1
    assert known.signs(away)["mahalanobis"] > known.signs(there)["mahalanobis"]


def test_about_as_many_known_images_are_passed_as_the_threshold_says(blobs: Any) -> None:
    novelty, own, known = fitted(blobs, 300)
    assert (own > 0.95).mean() <= 0.05
    fresh, _ = judged(blobs, novelty, known, data(blobs, 600, seed=9).features)
    assert 0.01 <= (fresh > 0.95).mean() <= 0.08  # 5 % expected, standard error 0.9 % and that of 300 ranks
    assert fresh.min() >= 0.0
    assert fresh.max() <= 1.0


def test_strange_vectors_are_novel_by_the_score(blobs: Any) -> None:
    novelty, _, known = fitted(blobs)
    strange = np.random.default_rng(3).standard_normal((60, 8)).astype(np.float32)
    strange[:, :3] = 0.0
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    usual, _ = judged(blobs, novelty, known, data(blobs, 120, seed=5).features)
    odd, signs = judged(blobs, novelty, known, strange)
    assert roc_auc_score([0] * 120 + [1] * 60, np.r_[usual, odd]) > 0.97
    assert set(signs) == set(SIGNS)


def test_no_image_is_its_own_neighbour(blobs: Any) -> None:
    """Twice the same vectors in different folds are found by each other; each vector once is not found by itself."""
    known = data(blobs, 60)
    novelty, _ = Novelty.fit(known, np.arange(60) % 5, words(known.features, blobs.centres))
    assert novelty.signs["knn"].min() > 1e-4
    twice = LabelledFeatures(np.tile(known.features, (2, 1)), np.tile(known.labels, 2), 3)
    folds = np.r_[np.zeros(60, int), np.ones(60, int)]
    of_both, _ = Novelty.fit(twice, folds, words(twice.features, blobs.centres))
    assert of_both.signs["knn"].max() < 1e-4


def test_with_equal_weights_the_score_is_fishers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "SIGNS", {"a": 1.0, "b": 1.0, "c": 1.0})
    p = {"a": np.array([0.2]), "b": np.array([0.01]), "c": np.array([0.7])}
    statistic = combine_pvalues([0.2, 0.01, 0.7], method="fisher").statistic
    assert score._fisher(p) == pytest.approx(statistic / 2)


def test_what_is_written_is_what_is_read(blobs: Any) -> None:
    novelty, _, known = fitted(blobs)
    again = Novelty.from_arrays(novelty.arrays())
    vectors = data(blobs, 30, seed=8).features
    assert judged(blobs, again, known, vectors)[0].tolist() == judged(blobs, novelty, known, vectors)[0].tolist()


def test_a_label_without_images_and_one_silent_agent_are_no_trouble(blobs: Any) -> None:
    known = data(blobs, 90)
    some = LabelledFeatures(known.features, known.labels, 4)
    predictions = np.concatenate([words(known.features, blobs.centres), np.full((2, 90, 1), 1e-9)], axis=2)
    predictions[0, :10] = np.nan
    _, own = Novelty.fit(some, np.arange(90) % 5, predictions)
    assert np.isfinite(own).all()


def with_unknown(blobs: Any, examples: np.ndarray, n: int = 300) -> tuple[Novelty, NoveltyReference]:
    novelty, _, _ = fitted(blobs, n)
    known = NoveltyReference.of(novelty.whitening, data(blobs, n), examples)
    return novelty.beside(known), known


def kind_of(seed: int, n: int) -> np.ndarray:
    """Vectors of a kind that no label is of: between the known labels, and along an axis of its own."""
    rng = np.random.default_rng(seed)
    vectors = np.array([0.6, 0.6, 0, 0.55, 0, 0, 0, 0]) + 0.15 * rng.standard_normal((n, 8))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_images_like_an_example_of_the_unknown_are_more_novel_and_known_ones_pass_as_before(blobs: Any) -> None:
    before, _, known_before = fitted(blobs, 300)
    strange, usual = kind_of(1, 80), data(blobs, 600, seed=9).features
    missed = judged(blobs, before, known_before, strange)[0] <= 0.95
    novelty, known = with_unknown(blobs, kind_of(2, 5))
    odd, signs = judged(blobs, novelty, known, strange)
    assert missed.mean() > 0.3
    assert (odd <= 0.95).mean() < 0.5 * missed.mean()
    assert set(signs) == {*SIGNS, UNKNOWN}
    fresh, _ = judged(blobs, novelty, known, usual)
    assert 0.01 <= (fresh > 0.95).mean() <= 0.08  # as without examples
    assert fresh.min() >= 0.0
    assert fresh.max() <= 1.0


def test_an_example_itself_is_novel(blobs: Any) -> None:
    example = kind_of(2, 1)
    novelty, known = with_unknown(blobs, example)
    (score,), signs = judged(blobs, novelty, known, example)
    assert score > 0.95
    assert signs[UNKNOWN][0] > 0.99
    assert known.signs(example)[UNKNOWN] == pytest.approx(known.signs(example)["knn"], abs=1e-6)  # 0 from itself


def test_the_sum_with_the_sign_is_fishers_and_its_rank_the_novelty() -> None:
    """Four known images at distances 0.1 to 0.4 from the others, and an example opposite to them all."""
    own, distances = np.array([0.0, 0.25, 0.5, 0.75]), np.array([0.1, 0.2, 0.3, 0.4])
    rows, unknown = np.tile(np.eye(2, dtype=np.float32)[0], (4, 1)), -np.eye(2, dtype=np.float32)[:1]
    reference = UnknownReference.of(own, distances, rows, unknown)
    assert reference.margins == pytest.approx(distances - 2.0)
    p = [1.0, 0.75, 0.5, 0.25]
    expected = [combine_pvalues([1 - u + 0.2, q], method="fisher").statistic / 2 for u, q in zip(own, p, strict=True)]
    assert reference.scores == pytest.approx(expected)
    novelty, share = reference.combined(np.array([0.0, 1.0]), np.array([-3.0, 1.0]))
    assert novelty.tolist() == [0.0, 1.0]
    assert share.tolist() == [0.0, 1.0]


def test_a_vector_is_found_again_by_its_key_alone(blobs: Any) -> None:
    vectors = data(blobs, 3000).features
    keys = vector_keys(vectors)
    assert len(set(keys.tolist())) == 3000
    np.testing.assert_array_equal(vector_keys(vectors[::-1]), keys[::-1])
    assert vector_keys(np.nextafter(vectors[:1], 2))[0] != keys[0]


def test_without_examples_or_without_a_known_image_nothing_changes(blobs: Any) -> None:
    novelty, _, known = fitted(blobs)
    assert novelty.beside(known) is novelty
    others = NoveltyReference.of(novelty.whitening, data(blobs, 50, seed=77), kind_of(2, 3))
    assert novelty.beside(others) is novelty  # none of its images was judged
