"""The head that labels unlabelled images itself, against its formulas in plain NumPy and against the plain head."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.agents import AgentInput, Gaussian, LabelledFeatures, SelfTrained
from consilience.agents.base import softmax
from consilience.agents.heads.model_selection import scales
from consilience.agents.heads.self_trained import RIDGE
from consilience.core.errors import AgentError
from consilience.core.task import Task
from consilience.orchestrator.ensemble.cross_fitting import exact_inputs

TASK = Task.from_labels(["ash", "elm"])


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def stretched(n: int, seed: int, d: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors (n, d) of two labels that lie apart along one axis and vary far more along six others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    spread = np.r_[0.35, np.full(6, 1.5), np.full(d - 7, 0.3)]
    rows = rng.standard_normal((n, d)) * spread
    rows[:, 0] += np.where(labels, 1.2, -1.2)
    return unit(rows), labels


def drawn(each: int, seed: int, unlabelled: int = 300) -> LabelledFeatures:
    rows, labels = stretched(2 * each, seed)
    return LabelledFeatures(rows, labels, 2, unlabelled=stretched(unlabelled, 1000 + seed)[0])


def inputs(known: LabelledFeatures, rows: np.ndarray) -> AgentInput:
    return exact_inputs(TASK, known, rows)


@pytest.mark.parametrize("each", [4, 20])
def test_it_is_the_discriminant_of_all_images_with_the_labels_that_it_gives_itself(each: int) -> None:
    known = drawn(each, 0)
    assert known.unlabelled is not None
    head = SelfTrained.fit(known)
    own = head.predict_proba(inputs(known, known.unlabelled)).argmax(axis=1)
    every = np.concatenate([known.features, known.unlabelled]).astype(np.float64)
    rows, labels = every / scales(every), np.r_[known.labels, own]
    means = np.array([rows[labels == label].mean(axis=0) for label in range(2)])
    within = np.cov((rows - means[labels]).T, bias=True)
    size = np.trace(np.cov(rows.T, bias=True)) / 24
    inverse = np.linalg.inv(within + RIDGE * size * np.eye(24))
    centred = means - rows.mean(axis=0)
    logits = (rows - rows.mean(axis=0)) @ inverse @ centred.T - np.einsum("cd,de,ce->c", centred, inverse, centred) / 2
    np.testing.assert_allclose(head.predict_proba(inputs(known, every)), softmax(logits / head.temperature), atol=1e-6)


def test_unlabelled_images_teach_what_a_few_labelled_ones_cannot() -> None:
    new, truth = stretched(600, 99)
    right: dict[str, list[float]] = {"gaussian": [], "self-trained": []}
    for seed in range(8):
        known = drawn(4, seed)
        for kind in (Gaussian, SelfTrained):
            scores = kind.fit(known).predict_proba(inputs(known, new))
            right[kind.name].append(float((scores.argmax(axis=1) == truth).mean()))
    assert np.mean(right["self-trained"]) > np.mean(right["gaussian"]) + 0.1


def test_where_the_images_part_otherwise_than_by_label_it_is_no_surer_than_it_may_be() -> None:
    """Two clumps of images, and labels that have nothing to do with them: its rounds find the clumps again."""
    rng = np.random.default_rng(0)

    def clumps(n: int) -> np.ndarray:
        rows = 0.1 * rng.standard_normal((n, 24))
        rows[:, 0] += rng.choice([-1.0, 1.0], n)
        return unit(rows)

    losses: dict[str, list[float]] = {"gaussian": [], "self-trained": []}
    for _ in range(10):
        known = LabelledFeatures(clumps(8), np.arange(8) % 2, 2, unlabelled=clumps(200))
        new, truth = clumps(400), rng.integers(0, 2, 400)
        for kind in (Gaussian, SelfTrained):
            scores = kind.fit(known).predict_proba(inputs(known, new))
            losses[kind.name].append(float(-np.log(scores[np.arange(400), truth]).mean()))
    assert np.mean(losses["self-trained"]) < np.mean(losses["gaussian"]) + 0.1


@pytest.mark.parametrize("each", [2, 4, 16])
def test_it_is_not_surer_than_it_is_right(each: int) -> None:
    new, truth = stretched(600, 99)
    ahead = []
    for seed in range(8):
        known = drawn(each, seed)
        scores = SelfTrained.fit(known).predict_proba(inputs(known, new))
        ahead.append(scores.max(axis=1).mean() - (scores.argmax(axis=1) == truth).mean())
    assert np.mean(ahead) < 0.05


def test_without_unlabelled_images_it_says_how_to_give_them() -> None:
    known = LabelledFeatures(*stretched(8, 0), 2)
    with pytest.raises(AgentError, match="'self-trained' needs unlabelled images, too: fit with --unlabelled FOLDER"):
        SelfTrained.fit(known)


def test_an_image_whose_label_is_known_is_no_unlabelled_one() -> None:
    known, others = drawn(4, 0), stretched(30, 5)[0]
    again = unit(known.features + 1e-7)  # embedded in another batch
    assert not np.array_equal(again, known.features)
    unlabelled = known.with_unlabelled(np.concatenate([again, others])).unlabelled
    assert unlabelled is not None
    assert np.array_equal(unlabelled, others)


def test_when_all_unlabelled_images_have_got_their_label_it_goes_on() -> None:
    known = drawn(20, 0)
    alone = known.with_unlabelled(known.features)
    assert alone.unlabelled is not None
    assert len(alone.unlabelled) == 0
    new, truth = stretched(600, 99)
    scores = SelfTrained.fit(alone).predict_proba(inputs(known, new))
    assert (scores.argmax(axis=1) == truth).mean() > 0.8
