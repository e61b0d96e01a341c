"""Writing files that appear whole or not at all, and outlast a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_file(path: Path) -> Path:
    """Return where `path` is written before it is whole; a killed writer leaves it, and the next one overwrites it."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a file to write, which then takes the place of `path`; a failure leaves `path` as it was.

    Raises:
        OSError: it cannot be written.
    """
    partial = partial_file(path)
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`, all or nothing.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, outlast a power cut."""
    if os.name != "posix":  # only there can a folder be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
