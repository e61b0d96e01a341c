"""A lock file that says who holds it, for what one process at a time may write."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


class LockHeldError(Exception):
    """Somebody else holds the lock: `holder` in words. Whoever asked says what to do about it."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


def hold_lock(path: Path) -> FileLock:
    """Take the lock at `path` without waiting, and leave this process's id in it.

    Any thread of the process may release it; it ends with the process.

    Raises:
        LockHeldError: this process, through another object, or another process holds it.
        OSError: the file cannot be made.
    """
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
