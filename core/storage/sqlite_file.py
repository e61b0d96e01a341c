"""SQLite files for several threads and processes; connections of other libraries can be set up alike."""

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

from consilience.core.storage.user_folders import make_private_file

BUSY_SECONDS = 10.0
"""How long one process waits for another that is writing."""


def make_database_file(path: Path) -> None:
    """Make an empty file for a database, which only its owner may read; SQLite gives its logs the same rights.

    One that is there stays as it is.

    Raises:
        sqlite3.OperationalError: it cannot be made, or is a link.
    """
    try:
        make_private_file(path)
    except OSError as cause:
        raise sqlite3.OperationalError(f"unable to open database file: {cause.strerror}") from cause


def set_up(connection: Any, *, durable: bool = False) -> None:
    """Set up a connection so that many can read while one writes.

    Args:
        connection: of sqlite3, or of another library with `cursor()`.
        durable: whether what was written last outlasts a power cut.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        _use_write_ahead_log(cursor)
    finally:
        cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    """Switch to the write-ahead log; wait for others who open a new file at the same time, as SQLite does not here."""
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
    """A connection, the lock for one thread's turn at it, and the id of the process that opened it."""

    database: sqlite3.Connection
    turn: threading.Lock
    process: int

    def close(self) -> None:
        if self.process == os.getpid():
            self.database.close()


class SqliteFile:
    """One SQLite file; safe for several threads and processes, and after a fork.

    Args:
        path: the file, made if it is missing: only its owner may read it then. A link is refused.
        prepare: makes the tables of a new file, and raises where the file holds something else, which leaves the file
            as it was. Others who open the same file wait meanwhile.
        durable: whether what was written last outlasts a power cut; without it, the last few transactions may be lost.

    Raises:
        sqlite3.Error: it cannot be opened, or is no such file.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None], *, durable: bool = False) -> None:
        self.path, self._durable = path, durable
        self._opened = self._open(prepare)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hand out the connection for one transaction of one thread, committed at the end, undone on an error."""
        if self._opened.process != os.getpid():
            self._opened = self._open()  # one that came over a fork may not be used
        opened = self._opened
        with opened.turn, opened.database:
            yield opened.database

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        with self._opened.turn:
            self._opened.close()

    def _open(self, prepare: Callable[[sqlite3.Connection], None] | None = None) -> _Opened:
        make_database_file(self.path)
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
