"""Each head against values by hand, a closed form, or scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from consilience.agents import (
    FEATURE_AGENTS,
    Agent,
    AgentInput,
    Gaussian,
    LabelledFeatures,
    Neighbours,
    Probe,
    TipAdapter,
    ZeroShot,
    feature_agent,
)
from consilience.agents.base import softmax
from consilience.agents.heads.gaussian import RIDGES, USUAL_DOUBT, USUAL_DOUBT_OF_ONE
from consilience.agents.heads.model_selection import FEW_IMAGES, nearest_labels, row_space, scales
from consilience.agents.heads.probe import STRENGTHS
from consilience.core.errors import AgentError
from consilience.core.task import Task
from consilience.orchestrator.ensemble.cross_fitting import exact_inputs


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def data(
    n: int = 60, n_labels: int = 3, d: int = 6, seed: int = 0, spread: float = 0.4, texts: bool = True
) -> LabelledFeatures:
    """Blobs around the first axes, labelled and not; each label's text is its axis, and so is its only caption."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_labels
    centres = np.eye(n_labels, d, dtype=np.float32)
    known = LabelledFeatures(unit(centres[labels] + spread * rng.standard_normal((n, d))), labels, n_labels)
    others = np.random.default_rng(1000 + seed)
    unlabelled = unit(centres[np.arange(90) % n_labels] + spread * others.standard_normal((90, d)))
    known = replace(known, unlabelled=unlabelled)
    return replace(known, texts=centres, captions=(centres, np.arange(n_labels))) if texts else known


def inputs(known: LabelledFeatures, features: np.ndarray) -> AgentInput:
    return exact_inputs(Task.from_labels([f"label {n}" for n in range(known.n_labels)]), known, features)


def seen(labels: list[list[int]], similarities: list[list[float]]) -> AgentInput:
    """Input of which only the neighbours are known."""
    n = len(labels)
    task = Task.from_labels(["a", "b", "c"])
    return AgentInput(
        task, [None] * n, np.zeros((n, 2), np.float32), np.array(labels), np.array(similarities, np.float32)
    )


def test_neighbours_vote_by_hand() -> None:
    voters = Neighbours(k=3, sharpness=10.0, smoothing=0.5, n_labels=3)
    scores = voters.predict_proba(seen([[1, 0, 1, 2], [2, -1, -1, -1]], [[0.9, 0.8, 0.7, 0.6], [0.4, 0, 0, 0]]))
    votes = np.array([[0.5 + np.exp(-1), 0.5 + 1 + np.exp(-2), 0.5], [0.5, 0.5, 1.5]])
    np.testing.assert_allclose(scores, votes / votes.sum(axis=1, keepdims=True), rtol=1e-6)


def test_without_neighbours_no_label_is_preferred() -> None:
    scores = Neighbours(5, 10.0, 0.3, 3).predict_proba(seen([[-1, -1], [-1, -1]], [[0, 0], [0, 0]]))
    np.testing.assert_allclose(scores, np.full((2, 3), 1 / 3))


def test_neighbours_choose_their_settings_without_looking_at_themselves() -> None:
    rng = np.random.default_rng(1)
    features = unit(rng.standard_normal((80, 16)))
    noise = LabelledFeatures(features, rng.integers(0, 2, 80), 2)
    own, near, similarities = nearest_labels(noise, 3)
    assert np.array_equal(own, noise.labels)
    assert similarities.max() < 1 - 1e-3
    fitted = Neighbours.fit(noise)
    assert fitted.smoothing == 1.0  # labels by chance: nothing is to be learned from neighbours
    assert fitted.predict_proba(inputs(noise, unit(rng.standard_normal((40, 16))))).max() < 0.8
    assert np.array_equal(near[:, 0], noise.labels[(features @ features.T - 2 * np.eye(80)).argmax(axis=1)])


def test_the_gaussian_has_its_closed_form() -> None:
    known = data(30, 2, 3)
    fitted = Gaussian.fit(known)
    rows = known.features.astype(np.float64)
    variance = rows.var(axis=0)
    rows = rows / np.sqrt((variance / variance.mean() + 0.1) / 1.1)
    means = np.array([rows[known.labels == label].mean(axis=0) for label in range(2)])
    centred = rows - means[known.labels]
    scatter = centred.T @ centred
    precision = 3 * np.linalg.inv(scatter + fitted.ridge * np.trace(scatter) / 29 * np.eye(3))
    logits = rows @ precision @ means.T + np.log(0.5) - np.einsum("cd,de,ce->c", means, precision, means) / 2
    np.testing.assert_allclose(
        fitted.predict_proba(inputs(known, known.features)), softmax(logits / fitted.temperature), atol=1e-6
    )


@pytest.mark.parametrize(("dimension", "preferred"), [(30, 1.0), (100, 0.1)])
def test_the_gaussian_chooses_the_ridge_that_cross_validation_prefers(dimension: int, preferred: float) -> None:
    """Held against plain numpy in the full space, where the choice itself is made in the images' own row space."""
    known = data(48, 3, dimension, spread=0.5)
    rows, labels = known.features.astype(np.float64), known.labels

    def loss(ridge: float) -> float:
        logits = np.zeros((48, 3))
        for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(rows, labels):
            means = np.array([rows[train][labels[train] == label].mean(axis=0) for label in range(3)])
            centred = rows[train] - means[labels[train]]
            scatter = centred.T @ centred
            inverse = np.linalg.inv(scatter + ridge * np.trace(scatter) / (len(train) - 1) * np.eye(dimension))
            bias = np.einsum("cd,de,ce->c", means, inverse, means) / 2
            logits[test] = rows[test] @ inverse @ means.T - bias
        return min(float(log_loss(labels, softmax(logits * scale))) for scale in np.geomspace(1, 4000, 60))

    assert Gaussian.fit(known).ridge == preferred == min(RIDGES, key=loss)


def test_with_few_images_the_gaussian_takes_its_usual_settings() -> None:
    for n, doubt in ((3, USUAL_DOUBT_OF_ONE), (6, USUAL_DOUBT), (3 * FEW_IMAGES - 1, USUAL_DOUBT)):
        fitted = Gaussian.fit(data(n, 3, 6))
        assert fitted.ridge == RIDGES[0]
        assert fitted.temperature == pytest.approx(doubt * 6 / n)


def test_with_one_image_a_label_the_gaussian_takes_all_that_varies_for_within_labels() -> None:
    known = np.array([[0.8, 0.6, 0.0, 0.0], [0.8, 0.0, 0.6, 0.0], [0.0, 0.0, 0.0, 1.0]])
    fitted = Gaussian.fit(LabelledFeatures(known.astype(np.float32), np.arange(3), 3))
    covariance = np.cov(known.T)
    precision = 4 * np.linalg.inv(2 * covariance + RIDGES[0] * np.trace(covariance) * np.eye(4))
    np.testing.assert_allclose(fitted.weights, known @ precision, rtol=1e-5)


@pytest.mark.parametrize("shots", [1, 2, 4])
def test_what_heads_say_after_a_few_images_is_about_as_sure_as_it_is_right(shots: int) -> None:
    """In 300 dimensions, where a head that took its images at their word would always be certain."""
    rng = np.random.default_rng(shots)
    centres = rng.standard_normal((4, 300))

    def drawn(each: int) -> LabelledFeatures:
        labels = np.repeat(np.arange(4), each)
        return LabelledFeatures(unit(centres[labels] + 5 * rng.standard_normal((4 * each, 300))), labels, 4)

    known, new = drawn(shots), drawn(100)
    for head in (Gaussian, Probe):
        scores = head.fit(known).predict_proba(inputs(known, new.features))
        right = (scores.argmax(axis=1) == new.labels).mean()
        assert abs(scores.max(axis=1).mean() - right) < 0.25, head.name


def test_features_of_both_signs_are_scaled_and_rectified_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((500, 3)) * [0.1, 1.0, 2.0]
    scaled = features / scales(features)
    spread = scaled.std(axis=0)
    assert spread.max() < 1.3 * spread[1:].min()
    assert spread[0] < spread[1]  # the smallest is not blown up to the full
    assert scales(np.abs(features)).tolist() == [1.0, 1.0, 1.0]
    assert scales(features[:1]).tolist() == [1.0, 1.0, 1.0]


def test_with_many_images_the_gaussian_decides_like_a_linear_discriminant() -> None:
    known, new = data(6000, 3, 4, spread=0.6), data(500, 3, 4, seed=1, spread=0.6)
    scores = Gaussian.fit(known).predict_proba(inputs(known, new.features)).argmax(axis=1)
    expected = LinearDiscriminantAnalysis().fit(known.features, known.labels).predict(new.features)
    assert (scores == expected).mean() > 0.99


def test_the_gaussian_weighs_labels_by_how_often_they_are_seen() -> None:
    balanced = data(60, 2, 4, spread=0.8)
    rare = balanced.take(np.flatnonzero((balanced.labels == 0) | (np.arange(60) < 10)))
    middle = unit(np.array([[1.0, 1.0, 0, 0]]))
    often = Gaussian.fit(rare).predict_proba(inputs(rare, middle))
    assert often[0, 0] > Gaussian.fit(balanced).predict_proba(inputs(balanced, middle))[0, 0] + 0.1


@pytest.mark.parametrize(("n", "dimensions", "spread"), [(600, 32, 0.6), (48, 128, 0.3), (150, 128, 0.4)])
def test_the_gaussian_is_about_honest_with_fewer_images_than_dimensions_and_with_more(
    n: int, dimensions: int, spread: float
) -> None:
    scores, right = [], []
    for seed in range(4):
        known, new = data(n, 3, dimensions, seed=seed, spread=spread), data(600, 3, dimensions, seed=50, spread=spread)
        probabilities = Gaussian.fit(known).predict_proba(inputs(known, new.features))
        scores += probabilities.max(axis=1).tolist()
        right += (probabilities.argmax(axis=1) == new.labels).tolist()
    assert np.mean(right) < 0.9
    assert np.mean(scores) == pytest.approx(np.mean(right), abs=0.03)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_probe_is_a_cross_validated_logistic_regression(n_labels: int) -> None:
    known, new = data(60, n_labels), data(50, n_labels, seed=1)
    fitted = Probe.fit(known)
    centre = known.features.mean(axis=0, dtype=np.float64)
    scale = scales(known.features)
    search = GridSearchCV(
        LogisticRegression(max_iter=100_000, tol=1e-9),
        {"C": list(STRENGTHS)},
        scoring="neg_log_loss",
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ).fit((known.features - centre) / scale, known.labels)
    assert fitted.strength == search.best_params_["C"]
    expected = search.predict_proba((new.features - centre) / scale)
    np.testing.assert_allclose(fitted.predict_proba(inputs(known, new.features)), expected, atol=5e-3)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_with_fewer_images_than_dimensions_the_probe_is_the_same_one_found_sooner(n_labels: int) -> None:
    known, new = data(24, n_labels, 40, spread=0.2), data(60, n_labels, 40, seed=1, spread=0.2)
    centre = known.features.mean(axis=0, dtype=np.float64)
    scale = scales(known.features)
    rows = (known.features - centre) / scale
    reduced, axes = row_space(rows)
    assert reduced.shape == (24, 24)
    np.testing.assert_allclose(reduced @ axes, rows, atol=1e-12)
    np.testing.assert_allclose(axes @ axes.T, np.eye(24), atol=1e-12)
    fitted = Probe.fit(known)
    reference = LogisticRegression(C=fitted.strength, max_iter=100_000, tol=1e-9).fit(rows, known.labels)
    scores = fitted.predict_proba(inputs(known, new.features))
    np.testing.assert_allclose(scores, reference.predict_proba((new.features - centre) / scale), atol=5e-3)


def test_the_probe_is_not_judged_by_other_views_of_what_it_learned() -> None:
    """Where labels say nothing, only copies of an image seem to bear out what was learned of it."""
    rng = np.random.default_rng(0)
    things = np.repeat(np.arange(40), 4)
    features = unit(rng.standard_normal((40, 64))[things] + 0.1 * rng.standard_normal((160, 64)))
    known = LabelledFeatures(features, rng.integers(0, 2, 40)[things], 2)
    assert Probe.fit(known).strength > Probe.fit(replace(known, groups=things)).strength == min(STRENGTHS)


def test_the_cache_has_tip_adapters_formula() -> None:
    known, new = data(12, 3, 5), data(4, 3, 5, seed=1)
    fitted = TipAdapter(known, amount=3.0, sharpness=5.5)
    assert known.texts is not None
    for text in (True, False):
        agent = fitted if text else TipAdapter(LabelledFeatures(known.features, known.labels, 3), 3.0, 5.5)
        logits = np.zeros((4, 3))
        for i, feature in enumerate(new.features):
            for key, label in zip(known.features, known.labels, strict=True):
                logits[i, label] += 3.0 * np.exp(-5.5 * (1 - feature @ key))
            if text:
                logits[i] += 100 * known.texts @ feature
        np.testing.assert_allclose(agent.predict_proba(inputs(known, new.features)), softmax(logits), atol=1e-5)


def test_the_cache_chooses_its_settings_without_looking_at_itself() -> None:
    rng = np.random.default_rng(2)
    noise = LabelledFeatures(unit(rng.standard_normal((60, 32))), rng.integers(0, 2, 60), 2)
    scores = TipAdapter.fit(noise).predict_proba(inputs(noise, unit(rng.standard_normal((40, 32)))))
    assert scores.max() < 0.95  # labels by chance teach no certainty


def test_zero_shot_names_the_nearest_text() -> None:
    texts = unit(np.array([[1.0, 0, 0], [0, 1, 0]]))
    known = LabelledFeatures(unit(np.eye(2, 3)), np.array([1, 0]), 2, texts)
    scores = ZeroShot.fit(known).predict_proba(inputs(known, unit(np.array([[1.0, 0.98, 0.3], [0.0, 1.0, 0.0]]))))
    length = np.sqrt(1 + 0.98**2 + 0.09)
    np.testing.assert_allclose(scores[0], softmax(np.array([[100 / length, 98 / length]]))[0], rtol=1e-4)
    assert scores[1].tolist() == pytest.approx([0, 1])


def test_zero_shot_needs_texts() -> None:
    with pytest.raises(AgentError, match="'zero-shot' needs an encoder with a text tower"):
        ZeroShot.fit(data(texts=False))


def test_an_unknown_agent_is_refused_by_what_exists() -> None:
    with pytest.raises(
        AgentError, match="no agent 'oracle'; there are: neighbours, probe, gaussian, tip-adapter, zero-shot"
    ):
        feature_agent("oracle")


WITHOUT_TOWER = [name for name, kind in FEATURE_AGENTS.items() if not kind.needs_tower]
ALL = pytest.mark.parametrize("name", WITHOUT_TOWER)


@ALL
@pytest.mark.parametrize("n_labels", [2, 3])
def test_every_head_learns_keeps_to_the_protocol_and_sums_to_1(name: str, n_labels: int) -> None:
    known, new = data(n_labels=n_labels), data(200, n_labels, seed=1)
    agent = feature_agent(name).fit(known)
    assert isinstance(agent, Agent)
    assert (agent.name, agent.can_revise) == (name, False)
    seen_by_it = inputs(known, new.features)
    scores = agent.predict_proba(seen_by_it)
    assert scores.shape == (200, n_labels)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    assert (scores.argmax(axis=1) == new.labels).mean() > 0.8
    predictions = agent.predict(seen_by_it)
    assert [list(prediction.probabilities or {}) for prediction in predictions] == [list(seen_by_it.task.names)] * 200
    np.testing.assert_allclose([list((prediction.probabilities or {}).values()) for prediction in predictions], scores)
    with pytest.raises(TypeError, match="has no second look"):
        agent.revise(seen_by_it, predictions, [])


@ALL
def test_every_head_survives_a_file_without_pickle(name: str, tmp_path: Path) -> None:
    known, new = data(), data(20, seed=1)
    agent = feature_agent(name).fit(known)
    np.savez(tmp_path / "head.npz", **agent.arrays())  # type: ignore[arg-type]
    with np.load(tmp_path / "head.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    without_texts = LabelledFeatures(known.features, known.labels, known.n_labels)  # as a panel holds them
    restored = feature_agent(name).from_arrays(arrays, without_texts)
    assert np.array_equal(
        restored.predict_proba(inputs(known, new.features)), agent.predict_proba(inputs(known, new.features))
    )


def test_a_gaussian_of_another_format_is_refused() -> None:
    known = data()
    arrays = Gaussian.fit(known).arrays()
    del arrays["scale"]
    with pytest.raises(KeyError, match="scale"):
        Gaussian.from_arrays(arrays, known)


@ALL
def test_an_updated_head_equals_one_fitted_on_all(name: str) -> None:
    everything = data(80)
    old, new = everything.take(np.arange(60)), everything.take(np.arange(5, 80))
    came, went = everything.take(np.arange(60, 80)), everything.take(np.arange(5))
    bare = [LabelledFeatures(part.features, part.labels, 3) for part in (new, came, went)]  # a panel keeps no texts
    updated, anew = feature_agent(name).fit(old).updated(*bare), feature_agent(name).fit(new)
    if isinstance(updated, Gaussian) and isinstance(anew, Gaussian):  # keeps the settings that were chosen
        anew = Gaussian(anew.statistics, updated.scale, updated.ridge, updated.temperature)
    asked = inputs(new, data(30, seed=3).features)
    np.testing.assert_allclose(updated.predict_proba(asked), anew.predict_proba(asked), atol=1e-6)


def test_a_gaussian_head_that_grows_eightfold_is_as_sure_as_one_fitted_on_all() -> None:
    """Its logits shrink as images are added, and calibrators know it by how sure it was."""
    rng, labels = np.random.default_rng(0), np.arange(480) % 3
    centres = rng.standard_normal((3, 200)) * 0.2
    features = unit(centres[np.r_[labels, labels]] + rng.standard_normal((960, 200)))
    everything, asked = LabelledFeatures(features[:480], labels, 3), features[480:]
    few, came = everything.take(np.arange(60)), everything.take(np.arange(60, 480))
    nothing = everything.take(np.arange(0))
    grown, anew = Gaussian.fit(few).updated(everything, came, nothing), Gaussian.fit(everything)
    scores, expected = (scores.predict_proba(inputs(everything, asked)).max(axis=1).mean() for scores in (grown, anew))
    assert scores == pytest.approx(expected, abs=0.05)
    back = grown.updated(few, nothing, came)
    assert back.temperature == Gaussian.fit(few).temperature


@ALL
@pytest.mark.parametrize("counts", [(1, 1), (1, 5), (2, 1, 9)])
def test_a_label_with_a_single_image_is_enough(name: str, counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(0)
    centres = np.eye(len(counts), 5, dtype=np.float32)
    features = unit(centres[labels] + 0.05 * rng.standard_normal((len(labels), 5)))
    unlabelled = unit(centres[np.arange(20) % len(counts)] + 0.05 * rng.standard_normal((20, 5)))
    captions = (centres, np.arange(len(counts)))
    known = LabelledFeatures(features, labels, len(counts), centres, captions, unlabelled=unlabelled)
    scores = feature_agent(name).fit(known).predict_proba(inputs(known, centres))
    assert np.isfinite(scores).all()
    if name != "neighbours":  # who smooths more than a single neighbour counts
        assert scores.argmax(axis=1).tolist() == list(range(len(counts)))


@settings(max_examples=15)
@given(st.sampled_from(WITHOUT_TOWER), st.integers(0, 999), st.integers(2, 4), st.floats(0.01, 3))
def test_probabilities_are_a_distribution_for_any_images(name: str, seed: int, n_labels: int, spread: float) -> None:
    known = data(4 * n_labels, n_labels, seed=seed, spread=spread)
    scores = feature_agent(name).fit(known).predict_proba(inputs(known, data(5, n_labels, seed=seed + 1).features))
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_views_of_some_rows_keep_them_together() -> None:
    known = data(12)
    whole = inputs(known, known.features)
    some = whole.take([4, 1])
    assert (len(some), some.task) == (2, whole.task)
    for name in ("features", "similarities", "neighbour_labels"):
        assert np.array_equal(getattr(some, name), getattr(whole, name)[[4, 1]])
