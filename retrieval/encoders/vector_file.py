"""An .npz file of labelled vectors, read a block at a time: a million take no more memory than a thousand."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilience.core.errors import DatasetError
from consilience.core.storage.array_file import opened_npz, read_header, read_member
from consilience.retrieval.encoders.encoder import Vectors
from consilience.retrieval.encoders.precomputed import EXPECTED, PrecomputedEncoder

BLOCK = 4096
"""Vectors that are read at a time."""


@dataclass(frozen=True)
class _Array:
    """One array of the file, described by its header.

    Attributes:
        whole: the array itself where its order does not let it be read in blocks; else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    whole: np.ndarray | None = None


class VectorFile:
    """Labelled vectors in a file of the form that `load_precomputed` reads, without holding them; `len` counts them.

    Attributes:
        path: the .npz file.
        encoder: the stand-in for what made the vectors.
        has_groups: whether it names the group of each vector.
        fingerprint: hash of the checksums that the file carries: it changes with what the file holds.

    Raises:
        DatasetError: the file cannot be read, or an array is missing or unfit; the message says which, and what is
            expected.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._zip() as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [name for name in ("embeddings", "labels", "names") if name not in members]:
                raise DatasetError(
                    f"'{path}' has no array '{missing[0]}' (it has: {', '.join(members) or 'none'}). {EXPECTED}."
                )
            seals = "\n".join(f"{name} {info.CRC} {info.file_size}" for name, info in sorted(members.items()))
            self.has_groups = "groups" in members
            names = ("embeddings", "labels", "names", *(["groups"] if self.has_groups else []))
            self._arrays = {name: _header(archive, name) for name in names}
            maker = read_member(archive, "encoder") if "encoder" in members else np.array("")
        vectors = self._arrays["embeddings"]
        if len(vectors.shape) != 2 or vectors.dtype.kind != "f" or 0 in vectors.shape:
            self._refuse(vectors)
        for name in names[1:]:
            if (texts := self._arrays[name]).dtype.kind != "U" or texts.shape != vectors.shape[:1]:
                self._refuse(texts)
        if maker.size != 1 or maker.dtype.kind != "U":
            self._refuse(_Array("encoder", maker.shape, maker.dtype))
        self.encoder = PrecomputedEncoder(vectors.shape[1], str(maker.item()))
        self.fingerprint = hashlib.sha256(seals.encode()).hexdigest()

    def __len__(self) -> int:
        return self._arrays["embeddings"].shape[0]

    def labels(self) -> Iterator[str]:
        """Yield the labels in order, without reading the vectors."""
        return self._texts("labels")

    def groups(self) -> Iterator[str]:
        """Yield the groups in order, without reading the vectors; the file must have them, see `has_groups`."""
        return self._texts("groups")

    def _texts(self, name: str) -> Iterator[str]:
        with self._zip() as archive:
            for block in _blocks(archive, self._arrays[name]):
                yield from block.tolist()

    def rows(self) -> Iterator[tuple[str, str, Vectors]]:
        """Yield name, label and vector, float32 (d,), of each row in order.

        A vector is scaled to unit length in float64; one that cannot be (NaN, infinite, only zeros) is given as NaN.
        """
        with self._zip() as archive:
            parts = (_blocks(archive, self._arrays[name]) for name in ("names", "labels", "embeddings"))
            for names, labels, vectors in zip(*parts, strict=True):
                yield from zip(names.tolist(), labels.tolist(), _unit_length(vectors), strict=True)

    @contextmanager
    def _zip(self) -> Iterator[zipfile.ZipFile]:
        try:
            with opened_npz(self.path) as archive:
                yield archive
        except OSError as cause:
            raise DatasetError(f"'{self.path}' cannot be read: {cause.strerror or cause}.") from cause
        except ValueError as cause:
            raise DatasetError(f"'{self.path}' is not an .npz file of plain arrays ({cause}). {EXPECTED}.") from cause

    def _refuse(self, array: _Array) -> None:
        raise DatasetError(f"'{self.path}': '{array.name}' is {array.dtype} {array.shape}. {EXPECTED}.")


def _unit_length(vectors: np.ndarray) -> Vectors:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    lengths[~np.isfinite(lengths) | (lengths == 0)] = np.nan
    unit: Vectors = (wide / lengths).astype(np.float32)
    return unit


def _header(archive: zipfile.ZipFile, name: str) -> _Array:
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        shape, column_major, dtype = read_header(file, info.file_size)
    if len(shape) > 1 and column_major:
        return _Array(name, shape, dtype, read_member(archive, name))
    return _Array(name, shape, dtype)


def _blocks(archive: zipfile.ZipFile, array: _Array) -> Iterator[np.ndarray]:
    """Yield the array, BLOCK rows at a time."""
    if array.whole is not None:
        yield from (array.whole[start : start + BLOCK] for start in range(0, array.shape[0], BLOCK))
        return
    width = int(np.prod(array.shape[1:], dtype=np.intp))
    info = archive.getinfo(f"{array.name}.npy")
    with archive.open(info) as file:
        read_header(file, info.file_size)
        for start in range(0, array.shape[0], BLOCK):
            count = min(BLOCK, array.shape[0] - start)
            data = file.read(count * width * array.dtype.itemsize)
            if len(data) < count * width * array.dtype.itemsize:
                raise EOFError(f"'{array.name}' ends early")
            yield np.frombuffer(data, array.dtype).reshape(count, *array.shape[1:])
