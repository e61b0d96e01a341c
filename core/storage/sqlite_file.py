"""A SQLite file of our own, or another library's connection to one, set up alike."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUSY_SECONDS = 10.0
"""How long one process waits for another that is writing."""


def set_up(connection: Any, *, durable: bool = False) -> None:
    """Let many read while one writes; `durable`: no power cut loses the last that was written."""
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        _use_write_ahead_log(cursor)
    finally:
        cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    """Wait for others, which SQLite does not do here: two may open a new file at the same time."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as cause:
            if "locked" not in str(cause) or time.monotonic() > end:
                raise
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The connection of one process."""

    database: sqlite3.Connection
    turn: threading.Lock
    process: int

    def close(self) -> None:
        if self.process == os.getpid():
            self.database.close()


class SqliteFile:
    """One SQLite file; safe for several threads and processes, and after a fork.

    Args:
        prepare: makes the tables of a new file, and raises where the file holds something else; that leaves it as it
            was. Others may open a new file at the same time and wait meanwhile.
        durable: no power cut loses the last that was written; without it, a few of the last may be lost.

    Raises:
        sqlite3.Error: it cannot be opened, or is no such file.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None], *, durable: bool = False) -> None:
        self.path, self._durable = path, durable
        self._opened = self._open(prepare)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hand out the connection for one transaction of one thread: committed at the end, or nothing of it."""
        if self._opened.process != os.getpid():
            self._opened = self._open()  # one that came over a fork may not be used
        opened = self._opened
        with opened.turn, opened.database:
            yield opened.database

    def close(self) -> None:
        """Let go of the file. A second call does nothing."""
        with self._opened.turn:
            self._opened.close()

    def _open(self, prepare: Callable[[sqlite3.Connection], None] | None = None) -> _Opened:
        database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            if prepare is not None:
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    prepare(database)
            set_up(database, durable=self._durable)
        except BaseException:
            database.close()
            raise
        opened = _Opened(database, threading.Lock(), os.getpid())
        weakref.finalize(self, opened.close)
        return opened
