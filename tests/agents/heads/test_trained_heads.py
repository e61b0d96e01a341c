"""Heads that are trained: on a tiny open_clip model with random weights, and on vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.agents import CapsAdapter, ClipSvd, CoOp, LabelledFeatures, TipAdapter, TipAdapterF, feature_agent
from consilience.agents.base import softmax
from consilience.agents.heads.model_selection import softened_log_loss
from consilience.agents.heads.trained_texts import TrainedTexts
from consilience.core.errors import AgentError
from consilience.core.task import Task
from consilience.orchestrator.ensemble.cross_fitting import exact_inputs
from consilience.retrieval.encoders.open_encoder import open_encoder
from tests.support import tiny_clip

TASK = Task.from_labels(["rust", "scab", "healthy"])


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), dtype=np.float32)


def drawn(each: int, d: int = 32, spread: float = 0.3, seed: int = 0, **more: Any) -> LabelledFeatures:
    """Blobs around three fixed centres that are all alike in most directions, as the images of one domain are."""
    centres = 0.6 * np.eye(3, d) + 0.5 / np.sqrt(d)
    labels = np.arange(3 * each) % 3
    noise = spread * np.random.default_rng(seed).standard_normal((3 * each, d))
    return LabelledFeatures(unit(centres[labels] + noise), labels, 3, **more)


def loss(head: Any, known: LabelledFeatures, new: LabelledFeatures) -> float:
    return softened_log_loss(head.predict_proba(exact_inputs(TASK, known, new.features)), new.labels)


def test_the_gradient_of_the_keys_is_that_of_the_loss() -> None:
    """Small steps along it lower the loss of each image without its own key as finite differences say."""
    known = drawn(4, d=5)
    agent = TipAdapterF(known, 3.0, 5.5)
    trained = agent._trained(known, (0, 1, 30))
    assert np.array_equal(trained[0], known.features)

    def left_out(keys: np.ndarray) -> float:
        affinities = np.exp(5.5 * (known.features @ keys.T - 1))
        np.fill_diagonal(affinities, 0.0)
        return softened_log_loss(softmax(3.0 * affinities @ np.eye(3)[known.labels]), known.labels)

    losses = [left_out(keys) for keys in trained]
    assert losses[0] > losses[1] > losses[2]


def test_trained_keys_are_better_where_a_cache_is_misled() -> None:
    """One feature that says nothing has a large part in all similarities."""
    known, new = drawn(30, seed=1), drawn(100, seed=2)
    loud = 0.7 * np.random.default_rng(3).standard_normal((400, 1))
    known = LabelledFeatures(unit(np.hstack([known.features, loud[:90]])), known.labels, 3)
    new = LabelledFeatures(unit(np.hstack([new.features, loud[90:390]])), new.labels, 3)
    assert loss(TipAdapterF.fit(known), known, new) < loss(TipAdapter.fit(known), known, new)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_encoder(tiny_clip.make(tmp_path_factory.mktemp("clip")), device="cpu")


def test_untrained_vectors_say_what_the_words_say(encoder: Any) -> None:
    torch = pytest.importorskip("torch")
    tower = encoder.prompt_tower(TASK.names)
    assert tower.length == 4
    with torch.inference_mode():
        texts = tower(torch.tensor(tower.start())).numpy()
    expected = encoder.encode_texts([f"a photo of a {name}." for name in TASK.names])
    np.testing.assert_allclose(texts, expected, atol=1e-5)
    again = encoder.encode_texts(["a photo of a rust."])
    np.testing.assert_allclose(again, expected[:1], atol=1e-6)  # the encoder itself is as it was


def test_unchanged_singular_values_say_what_the_words_say(encoder: Any) -> None:
    torch = pytest.importorskip("torch")
    tower = encoder.prompt_tower(TASK.names).singular
    assert tower.size == 2 * (4 * 32 + 2 * 32)  # in each layer those of q, k, v and the output, and of the MLP
    with torch.inference_mode():
        texts = tower(torch.zeros(tower.size)).numpy()
    expected = encoder.encode_texts([f"a photo of a {name}." for name in TASK.names])
    np.testing.assert_allclose(texts, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("first", "matrix", "rows"), [(32, "attn.in_proj_weight", slice(32, 64)), (128, "mlp.c_fc.weight", slice(None))]
)
def test_singular_values_half_as_large_again_are_a_matrix_half_as_large_again(
    encoder: Any, first: int, matrix: str, rows: slice
) -> None:
    torch = pytest.importorskip("torch")
    tower = encoder.prompt_tower(TASK.names).singular
    changes = torch.zeros(tower.size)
    changes[first : first + 32] = 0.5
    weights = encoder._model.get_parameter(f"transformer.resblocks.0.{matrix}")
    with torch.inference_mode():
        texts, before = tower(changes).numpy(), weights.clone()
        weights[rows] *= 1.5
        expected = encoder.encode_texts([f"a photo of a {name}." for name in TASK.names])
        weights.copy_(before)
    np.testing.assert_allclose(texts, expected, atol=1e-5)
    untouched = encoder.encode_texts([f"a photo of a {name}." for name in TASK.names])
    assert np.abs(texts - untouched).max() > 1e-3


@pytest.mark.parametrize("kind", [CoOp, ClipSvd])
def test_what_is_learned_lowers_the_loss_and_leaves_the_tower_alone(kind: type[TrainedTexts], encoder: Any) -> None:
    tower = encoder.prompt_tower(TASK.names)
    before = encoder.encode_texts(["a leaf"])
    known, new = drawn(16, spread=0.2, tower=tower), drawn(40, spread=0.2, seed=5)
    fitted, (start, _) = kind.fit(known), kind.reader(tower)
    assert fitted.texts.shape == (3, 32)
    assert fitted.learned.shape == start.shape
    assert not np.allclose(fitted.learned, start)
    untrained = kind(encoder.encode_texts([f"a photo of a {name}." for name in TASK.names]), start)
    assert loss(fitted, known, new) < loss(untrained, known, new)
    np.testing.assert_array_equal(encoder.encode_texts(["a leaf"]), before)


@pytest.mark.parametrize("name", ["tip-adapter-f", "caps-adapter", "coop", "clip-svd"])
def test_restored_without_pickle_they_say_the_same(name: str, encoder: Any, tmp_path: Path) -> None:
    texts = encoder.encode_texts([*TASK.names, "orange spots"])
    captions = texts, np.array([0, 1, 2, 0])
    tower, described = encoder.prompt_tower(TASK.names), drawn(9, seed=2).features
    known = drawn(9, texts=texts[:3], captions=captions, tower=tower, described=described)
    fitted, asked = feature_agent(name).fit(known), exact_inputs(TASK, known, drawn(5, seed=8).features)
    np.savez(tmp_path / "head.npz", allow_pickle=False, **fitted.arrays())
    with np.load(tmp_path / "head.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    restored = feature_agent(name).from_arrays(arrays, LabelledFeatures(known.features, known.labels, 3))
    np.testing.assert_allclose(restored.predict_proba(asked), fitted.predict_proba(asked), atol=1e-6)


def test_captions_speak_by_hand() -> None:
    texts = np.eye(2, 3, dtype=np.float32)
    captions = unit(np.array([[1.0, 0, 0], [1, 0, 1], [0, 1, 0]])), np.array([0, 0, 1])
    known = LabelledFeatures(np.eye(2, 3, dtype=np.float32), np.arange(2), 2, texts, captions)
    image = unit(np.array([[1.0, 0.9, 0.2]]))
    near = np.exp(20 * (image @ captions[0].T - (image @ captions[0].T).max()))[0]
    logits = 100 * image @ texts.T + 2 * np.exp(5.5 * (image @ known.features.T - 1))
    logits += 3 * np.array([[near[:2].mean(), near[2]]])
    scores = CapsAdapter(known, 2.0, 5.5, 3.0).probabilities(image)
    np.testing.assert_allclose(scores, softmax(logits), atol=1e-5)


def test_what_is_said_of_an_image_is_a_caption_but_not_where_it_is_judged_itself() -> None:
    texts = np.eye(2, 3, dtype=np.float32)
    nothing = np.zeros((1, 3), np.float32)
    described = np.concatenate([unit(np.array([[1.0, 0.5, 0], [0.2, 1, 0]])), nothing])
    images = unit(np.array([[1.0, 0.9, 0.2], [0.8, 1, 0], [0, 1, 0.3]]))
    known = LabelledFeatures(images, np.array([0, 1, 1]), 2, texts, (texts, np.arange(2)), described)
    agent = CapsAdapter(known, 0.0, 5.5, 3.0)
    all_texts, labels = np.vstack([texts, described[:2]]), np.array([0, 1, 0, 1])

    def by_hand(image: np.ndarray, of: list[int]) -> np.ndarray:
        similarities = all_texts[of] @ image
        near = np.exp(20 * (similarities - similarities.max()))
        means = np.array([near[labels[of] == label].mean() for label in (0, 1)])
        return np.asarray(softmax((100 * texts @ image + 3 * means)[None])[0])

    everything = [by_hand(image, [0, 1, 2, 3]) for image in images]
    np.testing.assert_allclose(agent.probabilities(images), everything, atol=1e-5)
    without_own = [by_hand(image, of) for image, of in zip(images, ([0, 1, 3], [0, 1, 2], [0, 1, 2, 3]), strict=True)]
    judged = agent._pooled(images, np.zeros((3, 2)), 3.0, np.arange(3))
    np.testing.assert_allclose(judged, without_own, atol=1e-5)


def test_captions_come_and_go_with_their_images() -> None:
    texts = np.eye(3, 32, dtype=np.float32)
    described = drawn(10, seed=4).features
    known = drawn(10, texts=texts, captions=(texts, np.arange(3)), described=described)
    new = drawn(1, seed=6)
    assert np.array_equal(known.take(np.array([4, 2])).described, described[[4, 2]])  # type: ignore[arg-type]
    left = LabelledFeatures(
        np.concatenate([known.features[3:], new.features]), np.concatenate([known.labels[3:], new.labels]), 3
    )
    now = CapsAdapter.fit(known).updated(left, new, known.take(np.arange(3)))
    assert now.described is not None
    np.testing.assert_array_equal(now.described[:27], described[3:])
    np.testing.assert_array_equal(now.described[27:], 0)


@pytest.mark.parametrize("name", ["caps-adapter", "coop", "clip-svd"])
def test_an_encoder_without_a_text_tower_is_refused(name: str) -> None:
    with pytest.raises(AgentError, match=f"'{name}' needs an encoder with a text tower"):
        feature_agent(name).fit(drawn(4))


@pytest.mark.slow
def test_a_panel_with_trained_agents_is_fitted_saved_and_diagnoses_and_names_texts_that_are_cut(
    encoder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import PIL.Image

    import consilience

    rng = np.random.default_rng(0)
    for label, colour in (("rust", (200, 90, 30)), ("scab", (60, 60, 40)), ("healthy", (60, 180, 60))):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(np.array(colour) + rng.integers(-30, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    labels = [{"name": name} for name in TASK.names[1:]]
    long = {"name": "rust", "descriptions": ["orange spots " * 60]}
    task = consilience.Task.model_validate({"domain": "leaf", "labels": [long, *labels]})
    agents = ["gaussian", "tip-adapter-f", "caps-adapter", "coop", "clip-svd"]
    panel = tmp_path / "panel"
    consilience.fit(tmp_path / "photos", panel, task=task, encoders=encoder.name, device="cpu", agents=agents)
    assert "1 of the texts of the label 'rust' are longer than" in caplog.text
    images = [tmp_path / "photos" / name / "0.png" for name in TASK.names]
    with consilience.Diagnoser.open(panel, device="cpu") as diagnoser:
        diagnoses = list(diagnoser.diagnose_many(images))
    assert all(isinstance(diagnosis, consilience.Diagnosis) for diagnosis in diagnoses)
    assert [prediction.agent for prediction in diagnoses[0].predictions] == agents  # type: ignore[union-attr]
