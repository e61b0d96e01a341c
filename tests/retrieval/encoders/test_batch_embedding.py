"""embed_many: the stream of batches that fitting and diagnosing read. The encoder here is plain arithmetic."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consilience.core.errors import ImageError
from consilience.core.images import Image, load_image
from consilience.retrieval.encoders import batch_embedding as embedding
from consilience.retrieval.encoders.batch_embedding import embed_many
from consilience.retrieval.encoders.encoder import Encoder, Vectors


class MeanColour(Encoder):
    """The mean colour, scaled to unit length."""

    def __init__(self, chunk: int = 4) -> None:
        self.name, self.dimension, self.fingerprint, self.has_text = "mean", 3, "mean", False
        self.chunk = chunk

    def prepare(self, image: Image) -> NDArray[Any]:
        mean: NDArray[np.float64] = image.pixels.mean(axis=(0, 1))
        return mean

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        vectors: Vectors = (batch / np.linalg.norm(batch, axis=1, keepdims=True)).astype(np.float32)
        return vectors


def coloured(number: int) -> Image:
    """Odd multiples of 5 cannot be read."""
    if number % 10 == 5:
        raise ImageError(f"image {number} is damaged")
    return Image.from_pixels(np.full((2, 3, 3), (number % 200 + 1, 7, 9), dtype=np.uint8), str(number))


@given(count=st.integers(0, 60), batch_size=st.integers(1, 20), chunk=st.integers(1, 7), workers=st.integers(1, 4))
def test_every_source_comes_out_once_in_order_with_its_own_vector(
    count: int, batch_size: int, chunk: int, workers: int
) -> None:
    encoder = MeanColour(chunk)
    batches = list(embed_many(range(count), encoder, load=coloured, batch_size=batch_size, workers=workers))
    assert [source for batch in batches for source in batch.sources] == list(range(count))
    assert [len(batch.sources) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    for batch in batches:
        assert 0 < len(batch.sources) <= batch_size
        assert len(batch.sources) == len(batch.images) == len(batch.errors)
        good = [image for image in batch.images if image is not None]
        assert batch.vectors.shape == (len(good), 3)
        np.testing.assert_array_equal(batch.vectors, encoder.encode(good))
        for source, image, error in zip(batch.sources, batch.images, batch.errors, strict=True):
            assert (image is None) == (source % 10 == 5)
            assert image.source == str(source) if image else str(error) == f"image {source} is damaged"


@given(known=st.sets(st.integers(0, 29)), chunk=st.integers(1, 7))
def test_known_vectors_stand_in_their_places_and_are_not_made_again(known: set[int], chunk: int) -> None:
    encoder, own = MeanColour(chunk), np.array([0.6, 0.0, 0.8], np.float32)
    vectors = {coloured(number).identity: own for number in known if number % 10 != 5}
    batches = list(embed_many(range(30), encoder, load=coloured, batch_size=8, known=vectors))
    good = [image for batch in batches for image in batch.images if image is not None]
    made = np.concatenate([batch.vectors for batch in batches])
    for image, vector, usual in zip(good, made, encoder.encode(good), strict=True):
        np.testing.assert_array_equal(vector, own if image.identity in vectors else usual)


def test_bad_files_are_reported_in_place_and_the_others_go_on(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "cut.jpg", "b.png", "text.jpg", "missing.png")]
    for path, colour in ((paths[0], "red"), (paths[2], "blue")):
        PIL.Image.new("RGB", (9, 9), colour).save(path)
    paths[1].write_bytes(b"\xff\xd8\xff\xe0")
    paths[3].write_text("hello")
    (batch,) = embed_many(paths, MeanColour(), load=load_image)
    assert [image is not None for image in batch.images] == [True, False, True, False, False]
    for path, error in zip(paths, batch.errors, strict=True):
        assert error is None or path.name in str(error)
    np.testing.assert_array_equal(batch.vectors, [[1, 0, 0], [0, 0, 1]])


def test_no_good_image_gives_no_vectors() -> None:
    (batch,) = embed_many([5, 15], MeanColour(), load=coloured)
    assert batch.vectors.shape == (0, 3)
    assert batch.images == [None, None]


def embed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("consilience-embed")]


def test_another_error_than_a_bad_image_ends_the_stream_and_its_threads() -> None:
    def load(number: int) -> Image:
        if number == 30:
            raise ZeroDivisionError("a mistake in the loader")
        return coloured(number)

    batches = embed_many(range(1000), MeanColour(), load=load, batch_size=8, workers=3)
    with pytest.raises(ZeroDivisionError, match="a mistake in the loader"):
        list(batches)
    assert embed_threads() == []


def test_closing_early_ends_the_threads_and_reads_no_further() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    batches = embed_many(endless(), MeanColour(chunk=4), load=coloured, batch_size=8, workers=2)
    assert next(batches).sources == list(range(8))
    assert embed_threads()
    batches.close()
    assert embed_threads() == []
    assert len(taken) <= 8 + 2 * 2 * 4  # the batch, and two chunks a thread


def test_closing_stops_a_chunk_between_two_images(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    at_work, stopping = threading.Event(), threading.Event()

    class Stop(threading.Event):
        def set(self) -> None:
            super().set()
            stopping.set()

    def load(number: int) -> Image:
        if number == 5:  # in the second chunk, while the first one is handed out
            at_work.set()
            stopping.wait(10)
        loaded.append(number)
        return coloured(number + 1)

    monkeypatch.setattr(embedding, "Event", Stop)
    batches = embed_many(range(40), MeanColour(chunk=4), load=load, batch_size=4, workers=1)
    next(batches)
    at_work.wait(10)
    batches.close()
    assert loaded == [0, 1, 2, 3, 4, 5]


def test_ctrl_c_ends_the_stream_and_its_threads() -> None:
    def load(number: int) -> Image:
        if number == 11:
            os.kill(os.getpid(), signal.SIGINT)
        return coloured(0)

    with pytest.raises(KeyboardInterrupt):
        for _ in embed_many(itertools.count(), MeanColour(), load=load, batch_size=8, workers=2):
            pass
    gc.collect()
    assert embed_threads() == []


def test_a_batch_ends_early_where_its_images_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MAX_PIXEL_BYTES", 2 * 3 * 3 * 5)  # five of the images here
    batches = list(embed_many(range(6, 14), MeanColour(chunk=3), load=coloured, batch_size=8))
    assert [len(batch.sources) for batch in batches] == [6, 2]


def test_a_source_that_raises_ends_the_stream() -> None:
    def sources() -> Iterator[int]:
        yield from range(3)
        raise RuntimeError("the list of files is gone")

    with pytest.raises(RuntimeError, match="the list of files is gone"):
        list(embed_many(sources(), MeanColour(), load=coloured))
    assert embed_threads() == []
