"""Writing files that appear whole or not at all, and outlast a power cut."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def partial_file(path: Path) -> Path:
    """Return where the only writer of `path` writes it before it is whole.

    A killed writer leaves it, and the next one removes it.
    """
    return path.with_name(f"{path.name}.partial")


@contextmanager
def replacing(path: Path, *, shared: bool = False, private: bool = False) -> Iterator[Path]:
    """Hand out a file to write, which then takes the place of `path`; a failure leaves `path` as it was.

    Args:
        path: the file.
        shared: whether others may write it at the same time, or the folder is the user's own: the file handed out then
            has a name that nobody else uses. Without it, the caller sees to it that nobody else writes `path`.
        private: whether only its owner may read it.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.partial") if shared else partial_file(path)
    if not shared:
        partial.unlink(missing_ok=True)  # it may be a link that somebody put there
    _make(partial, 0o600 if private else 0o666)
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what counts
            partial.unlink()
        raise
    sync(path.parent)


def write_atomically(path: Path, content: bytes | str, *, shared: bool = False, private: bool = False) -> None:
    """Write `content` (text as UTF-8) to `path`, all or nothing; `shared` and `private` as in `replacing`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, shared=shared, private=private) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def _make(path: Path, mode: int) -> None:
    """Make an empty file, which must not be there yet, not even as a link."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode))


def sync(path: Path) -> None:
    """Make a file's content, or a folder's entries, outlast a power cut."""
    if os.name != "posix":  # only there can a folder be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
