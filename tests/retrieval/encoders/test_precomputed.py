from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.core.errors import DatasetError, EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.open_encoder import open_encoder
from consilience.retrieval.encoders.precomputed import PrecomputedEncoder, load_precomputed
from tests.support.real_data import real_data

GOOD: dict[str, Any] = {
    "embeddings": np.array([[3, 4], [0, -2], [1e-30, 0]], dtype=np.float32),
    "labels": np.array(["ash", "elm", "ash"]),
    "names": np.array(["a.jpg", "b.jpg", "c.jpg"]),
}


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_vectors_are_scaled_to_unit_length(tmp_path: Path) -> None:
    loaded = load_precomputed(save(tmp_path / "good.npz", **GOOD))
    np.testing.assert_allclose(loaded.embeddings, np.array([[0.6, 0.8], [0, -1], [1, 0]]), atol=1e-7)
    assert loaded.embeddings.dtype == np.float32
    assert (loaded.labels, loaded.names) == (["ash", "elm", "ash"], ["a.jpg", "b.jpg", "c.jpg"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_any_width_of_float_is_read(tmp_path: Path, dtype: str) -> None:
    wide = GOOD | {"embeddings": np.array([[3, 4], [0, -2], [1, 0]], dtype=dtype)}
    loaded = load_precomputed(save(tmp_path / "x.npz", **wide))
    np.testing.assert_allclose(loaded.embeddings[0], np.array([0.6, 0.8]), atol=1e-6)


def without(name: str) -> dict[str, Any]:
    return {key: array for key, array in GOOD.items() if key != name}


NAN = np.array([[3, 4], [0, np.nan], [1, 0]], dtype=np.float32)
CASES = {
    "no embeddings": (without("embeddings"), "no array 'embeddings'.*labels, names"),
    "no labels": (without("labels"), "no array 'labels'"),
    "no names": (without("names"), "no array 'names'"),
    "one row flat": (GOOD | {"embeddings": np.ones(3, np.float32)}, r"'embeddings' is float32 \(3,\)"),
    "no rows": (GOOD | {"embeddings": np.ones((0, 2), np.float32)}, r"'embeddings' is float32 \(0, 2\)"),
    "no columns": (GOOD | {"embeddings": np.ones((3, 0), np.float32)}, r"'embeddings' is float32 \(3, 0\)"),
    "integers": (GOOD | {"embeddings": np.ones((3, 2), np.int64)}, "'embeddings' is int64"),
    "complex": (GOOD | {"embeddings": np.ones((3, 2), np.complex64)}, "'embeddings' is complex64"),
    "NaN": (GOOD | {"embeddings": NAN}, "1 of 3 rows.*NaN.*row 1"),
    "infinity": (GOOD | {"embeddings": np.where(np.isnan(NAN), np.inf, NAN)}, "1 of 3 rows.*infinity.*row 1"),
    "zero vector": (GOOD | {"embeddings": np.eye(3, 2, dtype=np.float32)}, "1 of 3 rows.*zeros.*row 2"),
    "fewer labels": (GOOD | {"labels": np.array(["ash"])}, r"'labels' is <U3 \(1,\), not text \(3,\)"),
    "more names": (GOOD | {"names": np.array(list("abcd"))}, r"'names' is <U1 \(4,\), not text \(3,\)"),
    "numbers as labels": (GOOD | {"labels": np.arange(3)}, "'labels' is int64"),
    "empty label": (GOOD | {"labels": np.array(["ash", "", "elm"])}, "row 1 of 'labels' is empty"),
    "object array": (GOOD | {"labels": np.array(["ash", None, "elm"], dtype=object)}, "not an .npz file of plain"),
    "two encoders": (GOOD | {"encoder": np.array(["a", "b"])}, r"'encoder' is <U1 \(2,\), not one text"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_named(tmp_path: Path, case: str) -> None:
    arrays, message = CASES[case]
    with pytest.raises(DatasetError, match=f"bad.npz.*{message}"):
        load_precomputed(save(tmp_path / "bad.npz", **arrays))


def test_files_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.npz", **GOOD).read_bytes()
    three = np.float32(3).tobytes()
    flipped = whole.replace(three, np.float32(5).tobytes())
    for name, content in {"text": b"hello", "empty": b"", "cut": whole[:200], "flipped": flipped}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name}' is not an .npz file"):
            load_precomputed(tmp_path / name)
    np.save(tmp_path / "single.npy", GOOD["embeddings"])
    with pytest.raises(DatasetError, match="single array"):
        load_precomputed(tmp_path / "single.npy")
    with pytest.raises(DatasetError, match=r"nowhere\.npz' cannot be read"):
        load_precomputed(tmp_path / "nowhere.npz")
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        load_precomputed(tmp_path)


def test_fingerprint_tells_dimension_and_maker_apart(tmp_path: Path) -> None:
    plain = load_precomputed(save(tmp_path / "plain.npz", **GOOD)).encoder
    made = load_precomputed(save(tmp_path / "made.npz", **GOOD, encoder=np.array("dino:v2"))).encoder
    assert (plain.name, plain.dimension) == ("precomputed:2", 2)
    assert (made.name, made.dimension) == ("precomputed:2:dino:v2", 2)
    assert len({plain.fingerprint, made.fingerprint, PrecomputedEncoder(3).fingerprint}) == 3
    for encoder in (plain, made):
        again = open_encoder(encoder.name)
        assert (again.name, again.dimension, again.fingerprint) == (encoder.name, 2, encoder.fingerprint)


@pytest.mark.parametrize("spec", ["precomputed", "precomputed:", "precomputed:0", "precomputed:-3", "precomputed:x"])
def test_a_name_without_a_dimension_is_refused(spec: str) -> None:
    with pytest.raises(EncoderError, match=r"precomputed:<dimension>.*\.npz"):
        open_encoder(spec)


def test_images_and_texts_are_refused() -> None:
    encoder = PrecomputedEncoder(2)
    image = Image.from_pixels(np.zeros((4, 4, 3), np.uint8), "black")
    for images in ([], [image]):
        with pytest.raises(EncoderError, match="takes vectors of 2 numbers, not images"):
            encoder.encode(images)
    with pytest.raises(EncoderError, match="takes vectors"):
        encoder.prepare(image)
    with pytest.raises(EncoderError, match="no text tower"):
        encoder.encode_texts(["a"])


def test_recorded_clip_vectors_load_as_they_are() -> None:
    path = real_data("recorded-runs/clip_vit_b32_train.npz")
    loaded = load_precomputed(path)
    assert loaded.embeddings.shape == (512, 512)
    arrays = np.load(path, allow_pickle=False)
    assert (loaded.labels, loaded.names) == (arrays["labels"].tolist(), arrays["names"].tolist())
    np.testing.assert_allclose(loaded.embeddings, arrays["embeddings"], atol=1e-3)  # stored from half precision
