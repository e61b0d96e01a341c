"""A batch of few images is compared as it is embedded: none twice, and in any order of asking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience.core.images import Image, ImageSource, load_image
from consilience.orchestrator.shift import batch_sample
from consilience.orchestrator.shift.batch_sample import tested
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.retrieval.encoders.batch_embedding import Embedded
from consilience.retrieval.memory.labelled_images import LabelledImages

IMAGES, BATCH = 60, 8


def vector_of(image: Image) -> np.ndarray:
    means = image.pixels.reshape(-1, 3).mean(axis=0).astype(np.float32) + 1
    return np.asarray(means / np.linalg.norm(means), np.float32)


class Embedder:
    """Embeds in batches; counts how often each image was read, and encoded."""

    def __init__(self) -> None:
        self.read = self.encoded = 0

    def __call__(
        self, sources: Iterable[ImageSource], known: MutableMapping[str, np.ndarray]
    ) -> Iterator[Embedded[ImageSource]]:
        given = [*sources]
        for start in range(0, len(given), BATCH):
            part = given[start : start + BATCH]
            images = [load_image(source) for source in part]
            self.read += len(part)
            self.encoded += sum(image.identity not in known for image in images)
            vectors = np.stack([known.get(image.identity, vector_of(image)) for image in images])
            yield Embedded(part, [*images], [None] * len(part), vectors)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, colours = tmp_path_factory.mktemp("colours"), np.random.default_rng(0).integers(0, 255, (IMAGES, 3))
    made = [folder / f"{number}.png" for number in range(IMAGES)]
    for path, colour in zip(made, colours.tolist(), strict=True):
        PIL.Image.new("RGB", (8, 8), tuple(colour)).save(path)
    return made


@pytest.fixture(scope="module")
def reference() -> ShiftReference:
    vectors = np.abs(np.random.default_rng(1).normal(size=(90, 3))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = tuple(f"known-{number}" for number in range(90))
    return ShiftReference.of(LabelledImages(ids, ("a",) * 90, ids, vectors), "encoder")


def drained(batch: batch_sample.TestedBatch, asked_after: int) -> list[ImageSource]:
    """The sources of all batches; what was found is asked after so many of them."""
    sources: list[ImageSource] = []
    for number, part in enumerate(batch.embedded):
        if number == asked_after:
            _ = batch.shift
        sources += part.sources
    return sources


@pytest.mark.parametrize("asked_after", [0, 2, 7])
def test_what_is_found_is_the_same_whenever_it_is_asked_and_no_image_is_read_twice(
    paths: list[Path], reference: ShiftReference, asked_after: int
) -> None:
    before, embedder = tested(paths, Embedder(), lambda: reference), Embedder()
    batch = tested(paths, embedder, lambda: reference)
    assert drained(batch, asked_after) == paths
    assert batch.shift == before.shift
    assert batch.shift.counted > 0
    assert (embedder.read, embedder.encoded) == (IMAGES, IMAGES)


def test_images_that_would_fill_the_memory_are_read_again(
    paths: list[Path], reference: ShiftReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_sample, "HELD_PIXEL_BYTES", 1)
    embedder: Any = Embedder()
    batch = tested(paths, embedder, lambda: reference)
    assert drained(batch, 1) == paths
    assert batch.shift == tested(paths, Embedder(), lambda: reference).shift
    assert embedder.encoded == IMAGES
    assert embedder.read == IMAGES + (IMAGES - 3 * BATCH)  # two were given, one is held
