"""Vectors read a block at a time are those that are read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.core.errors import DatasetError
from consilience.retrieval.encoders.precomputed import load_precomputed
from consilience.retrieval.encoders.vector_file import BLOCK, VectorFile


def arrays(n: int, dtype: str = "float32") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "embeddings": rng.normal(size=(n, 3)).astype(dtype),
        "labels": np.array([("ash", "elm", "Ulme im Winter")[row % 3] for row in range(n)]),
        "names": np.array([f"{row}.jpg" for row in range(n)]),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_blocks_hold_what_the_whole_file_holds(tmp_path: Path, save: Any, dtype: str) -> None:
    path = tmp_path / "x.npz"
    save(path, **arrays(2 * BLOCK + 7, dtype), encoder=np.array("ours"))
    whole, file = load_precomputed(path), VectorFile(path)
    names, labels, vectors = zip(*file.rows(), strict=True)
    assert len(file) == 2 * BLOCK + 7
    assert (list(names), list(labels), list(file.labels())) == (whole.names, whole.labels, whole.labels)
    np.testing.assert_array_equal(np.stack(vectors), whole.embeddings)
    assert file.encoder.fingerprint == whole.encoder.fingerprint


def test_an_array_in_column_order_is_read_as_well(tmp_path: Path) -> None:
    columns = arrays(10) | {"embeddings": np.asfortranarray(arrays(10)["embeddings"])}
    np.savez(tmp_path / "x.npz", **columns)
    vectors = np.stack([vector for *_, vector in VectorFile(tmp_path / "x.npz").rows()])
    np.testing.assert_array_equal(vectors, load_precomputed(tmp_path / "x.npz").embeddings)


def test_a_vector_that_cannot_be_scaled_is_nan_and_the_others_are_not(tmp_path: Path) -> None:
    broken = arrays(4)
    broken["embeddings"][1] = 0
    broken["embeddings"][2, 0] = np.inf
    np.savez(tmp_path / "x.npz", **broken)
    finite = [np.isfinite(vector).all() for *_, vector in VectorFile(tmp_path / "x.npz").rows()]
    assert finite == [True, False, False, True]


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    for name in ("one", "same", "other"):
        content = arrays(4)
        content["labels"][0] = "elm" if name == "other" else "ash"
        np.savez(tmp_path / f"{name}.npz", **content)
    first, same, other = (VectorFile(tmp_path / f"{name}.npz").fingerprint for name in ("one", "same", "other"))
    assert first == same != other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.ones(4, np.float32)}, r"'embeddings' is float32 \(4,\)"),
        ({"embeddings": np.ones((4, 2), np.int64)}, "'embeddings' is int64"),
        ({"labels": np.arange(4)}, "'labels' is int64"),
        ({"names": np.array(["a"])}, r"'names' is <U1 \(1,\)"),
        ({"labels": np.array([{}, 1, 2, 3], dtype=object)}, "not an .npz file of plain arrays"),
        ({"encoder": np.array(["a", "b"])}, "'encoder' is"),
    ],
)
def test_what_is_no_labelled_vectors_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays(4) | change)
    with pytest.raises(DatasetError, match=message):
        VectorFile(tmp_path / "x.npz")


def test_a_missing_array_and_a_missing_file_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=np.ones((1, 2)), names=np.array(["a"]))
    with pytest.raises(DatasetError, match=r"no array 'labels' \(it has: embeddings, names\)"):
        VectorFile(tmp_path / "x.npz")
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        VectorFile(tmp_path / "missing.npz")


def test_a_file_that_ends_early_is_no_such_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays(4))
    (tmp_path / "half.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-40])
    with pytest.raises(DatasetError, match=r"not an \.npz file"):
        VectorFile(tmp_path / "half.npz")
