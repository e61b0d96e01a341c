"""A lock file that says who holds it, for what one process at a time may write."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


class LockHeldError(Exception):
    """Another process or object holds the lock; the caller turns this into an error that says what to do.

    Attributes:
        holder: who holds it, in words.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


def hold_lock(path: Path) -> FileLock:
    """Take the lock at `path` without waiting, write this process's id into it, and return it.

    Any thread of the process may release it; it ends with the process.

    Raises:
        LockHeldError: another process holds it, or this one does through another object.
        OSError: the file cannot be made, or is a link.
    """
    if path.is_symlink():  # whose target would be emptied
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as cause:
        raise LockHeldError(_holder(path)) from cause
    with suppress(OSError):  # where a locked file cannot be written, others do without the id
        path.write_text(str(os.getpid()), encoding="ascii")
    return lock


def _holder(path: Path) -> str:
    try:
        number = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return "another process"
    return "this process" if number == os.getpid() else f"the process {number}"
