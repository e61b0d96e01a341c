"""Reading numpy's files that somebody else wrote: no room is made for numbers that are not there.

An .npy file, and each member of an .npz, begins with a header that claims a shape; numpy makes room for it, then reads.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

MAX_UNPACKED = 2**28
"""Bytes that members of an .npz may have in any case, and up to which nobody asks how small they were packed."""

MAX_RATIO = 64
"""Times a larger .npz may be as large unpacked; vectors and texts of real images stay below 10."""


def read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array; the file then stands at its numbers.

    Args:
        file: stands at the beginning of the array.
        size: bytes that it has from there on.

    Returns:
        Shape, whether it is column-major, and dtype.

    Raises:
        ValueError: it is no such array, holds objects, or claims more numbers than there are bytes.
    """
    start = file.tell()
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"an array of format {version}")
    try:
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, dtype = read(file)
    except (OverflowError, RecursionError, MemoryError, TypeError, SyntaxError) as cause:
        raise ValueError(f"a header that makes no sense ({type(cause).__name__})") from None
    if dtype.hasobject:
        raise ValueError("an array of objects")
    there = size - (file.tell() - start)
    if any(not 0 <= length < 2**62 for length in shape) or math.prod(shape) * max(1, dtype.itemsize) > there:
        raise ValueError(f"an array that claims {dtype} {shape}, of which {there:,} bytes are there")
    return shape, column_major, dtype


def read_array(file: IO[bytes], size: int) -> npt.NDArray[Any]:
    """Return the array in a file; arguments and errors as of `read_header`, and EOFError."""
    start = file.tell()
    read_header(file, size)
    file.seek(start)
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def read_npy(path: Path) -> npt.NDArray[Any]:
    """Return the array in an .npy file. Raises OSError or ValueError: it cannot be read."""
    with path.open("rb") as file:
        return read_array(file, path.stat().st_size)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an .npz by name. Raises OSError or ValueError: it cannot be read."""
    with opened_npz(path) as archive:
        return {name: read_member(archive, name) for name in member_names(archive)}


@contextmanager
def opened_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an .npz.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, is damaged, or would be far larger unpacked; whatever is read of it in the `with` too.
    """
    try:
        with path.open("rb") as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it holds a single array")
        with zipfile.ZipFile(path) as archive:
            unpacked, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
            if unpacked > max(MAX_UNPACKED, MAX_RATIO * packed):
                raise ValueError(f"its {packed:,} bytes would be {unpacked:,} unpacked")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as cause:
        raise ValueError(str(cause)) from cause  # RuntimeError: a password


def member_names(archive: zipfile.ZipFile) -> list[str]:
    """Return the names of the arrays in an .npz."""
    return [info.filename.removesuffix(".npy") for info in archive.infolist() if info.filename.endswith(".npy")]


def read_member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Return an array of an .npz; call it within `opened_npz`."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        return read_array(file, info.file_size)
