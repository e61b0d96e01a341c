"""Heads on one eye of several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consilience.agents import AgentInput, Gaussian, LabelledFeatures, Probe, ZeroShot, feature_agent, on_each_eye
from consilience.agents.base import LabelTexts
from consilience.agents.heads.on_eye import OnEye, unlabelled_of
from consilience.core.errors import AgentError
from consilience.core.task import Task
from consilience.orchestrator.ensemble.cross_fitting import exact_inputs
from consilience.retrieval.encoders.eye import eyes_of

EYES = eyes_of({"efficientnet-lite0": 5, "open_clip:ViT-B-32:openai": 4})
LITE0, CLIP = EYES
TASK = Task.from_labels(["a", "b", "c"])


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def seen(n: int, d: int, seed: int, spread: float) -> LabelledFeatures:
    rng, labels = np.random.default_rng(seed), np.arange(n) % 3
    features = unit(np.eye(3, d)[labels] + spread * rng.standard_normal((n, d)))
    return LabelledFeatures(features, labels, 3, unlabelled=unit(rng.standard_normal((20, d))))


OWN = {LITE0.name: seen(60, 5, 1, 0.5), CLIP.name: seen(60, 4, 2, 0.3)}


def together(attribute: str) -> np.ndarray:
    return np.concatenate([getattr(OWN[eye.name], attribute) * np.float32(eye.scale) for eye in EYES], axis=1)


BOTH = replace(
    OWN[LITE0.name],
    features=together("features"),
    unlabelled=together("unlabelled"),
    eyes=EYES,
    texts_of={CLIP.name: LabelTexts(np.eye(3, 4, dtype=np.float32), (np.eye(3, 4, dtype=np.float32), np.arange(3)))},
)


def inputs(data: LabelledFeatures) -> AgentInput:
    return exact_inputs(TASK, data, data.features[:10])


@pytest.mark.parametrize("eye", [LITE0.name, CLIP.name])
@pytest.mark.parametrize("kind", [Probe, Gaussian])
def test_it_says_what_the_head_says_that_was_fitted_on_this_eye_alone(kind: type[Probe | Gaussian], eye: str) -> None:
    head, alone = feature_agent(f"{kind.name}@{eye}").fit(BOTH), kind.fit(OWN[eye])
    assert head.name == f"{kind.name}@{eye}"
    expected = alone.predict_proba(inputs(OWN[eye]))
    np.testing.assert_allclose(head.predict_proba(inputs(BOTH)), expected, atol=1e-3)
    assert {prediction.agent for prediction in head.predict(inputs(BOTH))} == {head.name}


def test_it_is_restored_with_its_eye_and_learns_on() -> None:
    head = feature_agent(f"gaussian@{CLIP.name}").fit(BOTH)
    restored = feature_agent(head.name).from_arrays(head.arrays(), BOTH)
    np.testing.assert_allclose(restored.predict_proba(inputs(BOTH)), head.predict_proba(inputs(BOTH)), atol=1e-6)
    half, rest = BOTH.take(np.arange(30)), BOTH.take(np.arange(30, 60))
    grown = feature_agent(head.name).fit(half).updated(BOTH, rest, BOTH.take(np.arange(0)))
    assert isinstance(grown, OnEye)
    assert grown.eye == CLIP


def test_words_are_compared_with_the_eye_that_reads_them() -> None:
    head = feature_agent(f"zero-shot@{CLIP.name}").fit(BOTH)
    alone = ZeroShot(np.eye(3, 4, dtype=np.float32))
    expected = alone.predict_proba(inputs(OWN[CLIP.name]))
    np.testing.assert_allclose(head.predict_proba(inputs(BOTH)), expected, atol=1e-4)
    with pytest.raises(AgentError, match="text tower"):
        feature_agent(f"zero-shot@{LITE0.name}").fit(BOTH)


def test_the_unlabelled_images_are_had_back_from_the_heads() -> None:
    assert BOTH.unlabelled is not None
    heads = [feature_agent(f"self-trained@{eye.name}").fit(BOTH) for eye in EYES]
    restored = unlabelled_of(heads, BOTH.features.shape[1])
    assert restored is not None
    np.testing.assert_allclose(restored, BOTH.unlabelled, atol=1e-6)
    one_eye = unlabelled_of(heads[1:], BOTH.features.shape[1])
    assert one_eye is not None
    assert not one_eye[:, : LITE0.stop].any()
    assert unlabelled_of([feature_agent(f"gaussian@{CLIP.name}").fit(BOTH)], 9) is None


def test_a_name_without_an_eye_means_each_eye_but_the_memory_is_one() -> None:
    assert on_each_eye(["neighbours", "probe", f"gaussian@{CLIP.name}"], EYES) == [
        "neighbours",
        "probe@lite0",
        "probe@ViT-B-32",
        "gaussian@ViT-B-32",
    ]
    assert on_each_eye(["neighbours", "probe"], ()) == ["neighbours", "probe"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("probe@lite9", "no eye 'lite9' for the agent 'probe@lite9'; there are: lite0, ViT-B-32"),
        ("neighbours@lite0", "which all eyes share: leave out '@lite0'"),
        ("oracle@lite0", "there is no agent 'oracle@lite0'"),
    ],
)
def test_an_eye_that_is_not_there_is_named(name: str, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        feature_agent(name).fit(BOTH)
