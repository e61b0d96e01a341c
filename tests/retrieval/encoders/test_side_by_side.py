"""Several encoders as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.encoder import Encoder, Vectors
from consilience.retrieval.encoders.eye import eyes_of
from consilience.retrieval.encoders.open_encoder import open_encoder
from consilience.retrieval.encoders.side_by_side import SideBySide


class Cells(Encoder):
    """Looks at a picture of side x side cells: their mean brightness, at unit length."""

    def __init__(self, side: int, chunk: int) -> None:
        self.name, self.side, self.dimension = f"cells:{side}", side, side * side
        self.fingerprint, self.has_text, self.chunk = f"cells-{side}", False, chunk

    def prepare(self, image: Image) -> NDArray[Any]:
        cell = image.pixels.shape[0] // self.side
        grey = image.pixels[: cell * self.side, : cell * self.side].mean(axis=2)
        return np.asarray(grey.reshape(self.side, cell, self.side, cell).mean(axis=(1, 3)), np.float32)

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        flat = batch.reshape(len(batch), -1)
        return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True), np.float32)


@pytest.fixture
def images() -> list[Image]:
    rng = np.random.default_rng(3)
    return [Image.from_pixels(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), str(number)) for number in range(7)]


def test_the_similarity_of_two_images_is_the_mean_of_the_eyes(images: list[Image]) -> None:
    parts = Cells(2, 4), Cells(3, 3)
    both = SideBySide(parts)
    vectors = both.encode(images)
    assert vectors.shape == (7, both.dimension) == (7, 4 + 9)
    own = [part.encode(images) for part in parts]
    np.testing.assert_allclose(vectors @ vectors.T, np.mean([each @ each.T for each in own], axis=0), atol=1e-6)
    for eye, each in zip(both.eyes, own, strict=True):
        np.testing.assert_allclose(eye.of(vectors), each, atol=1e-6)


def test_each_image_is_loaded_once_for_all_eyes(images: list[Image]) -> None:
    both, loaded = SideBySide((Cells(2, 4), Cells(3, 3))), list[str]()

    def load(image: Image) -> Image:
        loaded.append(image.source)
        return image

    batches = [*embed_many(images, both, load=load, batch_size=4, workers=2)]
    assert sorted(loaded) == sorted(image.source for image in images)
    np.testing.assert_allclose(np.concatenate([batch.vectors for batch in batches]), both.encode(images), atol=1e-6)


def test_another_encoder_in_the_same_place_makes_other_vectors() -> None:
    prints = {SideBySide(parts).fingerprint for parts in [(Cells(2, 1), Cells(3, 1)), (Cells(3, 1), Cells(2, 1))]}
    assert len(prints | {Cells(2, 1).fingerprint}) == 3


def test_the_same_encoder_twice_is_refused() -> None:
    with pytest.raises(EncoderError, match="'precomputed:4' is named twice"):
        open_encoder("precomputed:4 + precomputed:4")


def test_one_that_is_not_there_is_named_among_several() -> None:
    with pytest.raises(EncoderError, match="There is no encoder 'crystal'"):
        open_encoder("precomputed:4 + crystal")


def test_eyes_have_names_of_their_own() -> None:
    encoders = {
        "open_clip:ViT-B-32:openai": 512,
        "open_clip:ViT-B-32:laion2b": 512,
        "open_clip:local-dir:/models/own tower/": 32,
        "transformers:google/siglip-base": 768,
    }
    names = [eye.name for eye in eyes_of(encoders)]
    assert names == ["ViT-B-32", "ViT-B-32-2", "own-tower", "siglip-base"]
    assert eyes_of({"efficientnet-lite0": 1280}) == ()
