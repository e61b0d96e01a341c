"""Arrays that somebody else wrote: what they claim is checked before room is made for it."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from consilience.core.errors import DatasetError, PanelDamagedError
from consilience.core.storage.array_file import read_arrays, read_npy
from consilience.core.storage.json_text import parsed_json
from consilience.retrieval.encoders.precomputed import load_precomputed
from consilience.retrieval.encoders.vector_file import VectorFile
from consilience.retrieval.memory.thumbnails import ThumbnailArchive


def npy(shape: str, descr: str = "'<f4'", body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(header)) + header + body


def saved(array: npt.NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


SOUND = {
    "embeddings": saved(np.eye(2, dtype=np.float32)),
    "labels": saved(np.array(["a", "b"])),
    "names": saved(np.array(["x", "y"])),
}
HOSTILE = {
    "petabytes": npy("(1000000000000, 1280)"),
    "gigabytes": npy("(3000000000,)"),
    "negative": npy("(-5, 3)"),
    "no machine number": npy("(99999999999999999999999, 3)"),
    "nothing very often": npy("(1000000000000000000,)", "'<U0'"),
    "texts of gigabytes": npy("(2,)", "'<U500000000'"),
    "deep shape": npy("(" * 3000 + ")" * 3000),
    "deep type": npy("(2,)", "[('a'," * 500 + "'f4'" + ")]" * 500),
    "code": npy("(2, 2)", "__import__('os')"),
    "objects": npy("(2,)", "'|O'", b"cos\nsystem\n"),
    "of tomorrow": npy("(2, 2)", version=(9, 0)),
    "cut off": npy("(2, 2)", body=bytes(15)),
    "no array": b"words",
    "nothing": b"",
}


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["embeddings", "names", "encoder"])
def test_what_an_array_claims_is_no_reason_to_make_room(tmp_path: Path, kind: str, name: str) -> None:
    path = archive(tmp_path / "vectors.npz", SOUND | {name: HOSTILE[kind]})
    with pytest.raises(ValueError, match=r"."):
        read_arrays(path)
    with pytest.raises(DatasetError, match=r"vectors\.npz'"):
        load_precomputed(path)
    with pytest.raises(DatasetError, match=r"vectors\.npz'"):
        [*VectorFile(path).rows()]


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_same_of_a_single_array(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "vectors.npy"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match=r"."):
        read_npy(path)


def test_a_file_that_would_be_far_larger_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilience.core.storage.array_file.MAX_UNPACKED", 100_000)
    path = archive(tmp_path / "zeros.npz", {"zeros": saved(np.zeros(50_000, np.float32))})
    with pytest.raises(ValueError, match=r"bytes would be 200,128 unpacked"):
        read_arrays(path)
    noise = np.random.default_rng(0).normal(size=50_000)
    np.savez_compressed(path, noise=noise)
    np.testing.assert_array_equal(read_arrays(path)["noise"], noise)


def test_a_directory_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "lies.npz", {"huge": npy("(1000, 1000)")})
    data = bytearray(path.read_bytes())
    size = struct.pack("<I", len(npy("(1000, 1000)")))
    for place in range(len(data) - 4):
        if data[place : place + 4] == size:
            data[place : place + 4] = struct.pack("<I", 4_000_128)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        read_arrays(path)


def test_sound_arrays_are_what_they_were(tmp_path: Path) -> None:
    arrays = {
        "column-major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "texts": np.array(["ä", "long text"]),
        "empty": np.zeros((0, 4)),
        "single": np.array("one"),
        "truth": np.array([True, False]),
    }
    np.savez(tmp_path / "sound.npz", allow_pickle=False, **arrays)
    read = read_arrays(tmp_path / "sound.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def test_a_small_picture_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thumbnails.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.jpg", bytes(2**23))
        file.writestr("leaf.jpg", b"jpeg")
    pictures = ThumbnailArchive(path)
    assert pictures.get("leaf") == b"jpeg"
    with pytest.raises(PanelDamagedError, match=r"'bomb\.jpg' would have 8,388,608 bytes"):
        pictures.get("bomb")


def test_json_that_is_too_deep_is_no_traceback() -> None:
    assert parsed_json(b'{"a": [1]}') == {"a": [1]}
    for deep in ("[" * 200_000, '{"a":' * 200_000):
        with pytest.raises(ValueError, match="too deeply"):
            parsed_json(deep)
