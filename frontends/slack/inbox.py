"""The journal: what Slack has delivered and how far it is answered, on disk: a restart loses and doubles nothing.

A request is written before Slack is told that it has arrived. One bot at a time owns the journal.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import Timeout

from consilience.core.errors import SlackError
from consilience.frontends.slack.request import SlackRequest
from consilience.retrieval.memory.index_store import holder_of, lock_file, note_holder

KEPT_DAYS = 90
"""After which an answered request is forgotten, and follow-ups in its thread are no longer understood."""

_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL, received REAL NOT NULL,
    channel TEXT NOT NULL, thread TEXT NOT NULL, message TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '', diagnosis TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT '',
    pictured INTEGER NOT NULL DEFAULT 0, answered INTEGER NOT NULL DEFAULT 0, mark TEXT NOT NULL DEFAULT ''
)
"""
_TOLD = "CREATE TABLE IF NOT EXISTS told (name TEXT PRIMARY KEY)"
_ADDED = "ALTER TABLE requests ADD COLUMN mark TEXT NOT NULL DEFAULT ''"  # to journals of earlier versions
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS by_thread ON requests (channel, thread)",
    "CREATE INDEX IF NOT EXISTS by_diagnosis ON requests (diagnosis)",
    "CREATE INDEX IF NOT EXISTS by_state ON requests (answered)",
)


@dataclass(frozen=True, slots=True)
class RequestProgress:
    """How far a request is answered.

    Attributes:
        note: timestamp of the bot's message, which says that it is at work and becomes the answer; empty: none yet.
        diagnosis: id of the diagnosis that was made for it; empty: none yet.
        is_pictured: whether the picture of the evidence was shown.
    """

    request: SlackRequest
    note: str = ""
    diagnosis: str = ""
    is_pictured: bool = False


class InboxError(SlackError):
    """The journal cannot be read or written, perhaps for now."""


class Inbox:
    """Safe from many threads. Every method raises JournalError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        """Open it, or make a new one.

        Raises:
            SlackError: another bot owns it.
            JournalError: it cannot be used.
        """
        self.path = path
        self._turn = threading.Lock()
        self._owner = lock_file(path.with_name(f"{path.name}.lock"))
        with self._complaints():
            try:
                self._owner.acquire(timeout=0)
            except Timeout as cause:
                raise SlackError(
                    f"the journal '{path}' is in use by {holder_of(self._owner)}: stop that bot first, or name another "
                    "file with --journal"
                ) from cause
            note_holder(self._owner)
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            for statement in (_TABLE, _TOLD, *_INDEXES):
                self._file.execute(statement)
            if "mark" not in {column[1] for column in self._file.execute("PRAGMA table_info(requests)")}:
                self._file.execute(_ADDED)
            long_ago = time.time() - KEPT_DAYS * 86400
            self._file.execute("DELETE FROM requests WHERE answered AND received < ?", (long_ago,))

    def receive(self, requests: Sequence[SlackRequest]) -> list[SlackRequest]:
        """Write requests down. Returns those that were not delivered before."""
        new = []
        with self._complaints(), self._turn:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                for one in requests:
                    place = (one.key, json.dumps(one.to_dict()), time.time(), one.channel, one.thread, one.message)
                    added = self._file.execute(
                        "INSERT OR IGNORE INTO requests (key, body, received, channel, thread, message) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        place,
                    )
                    new += [one] if added.rowcount else []
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
        return new

    def noted(self, key: str, note: str) -> None:
        """The bot's message is there that becomes the answer."""
        self._run("UPDATE requests SET note = ? WHERE key = ?", note, key)

    def diagnosed(self, key: str, diagnosis: str, before: str = "") -> None:
        """A diagnosis was made; `before` is the earlier one of the same image, if it was looked at again."""
        self._run(
            "UPDATE requests SET diagnosis = ?, origin = coalesce((SELECT origin FROM requests WHERE diagnosis = ? AND "
            "diagnosis != ''), key) WHERE key = ?",
            diagnosis,
            before,
            key,
        )

    def pictured(self, key: str) -> None:
        """The picture of the evidence was shown."""
        self._run("UPDATE requests SET pictured = 1 WHERE key = ?", key)

    def answered(self, key: str, mark: str = "") -> bool:
        """A request is answered. Returns whether all requests of its message are.

        Args:
            mark: the reaction that its message is due.
        """
        self._run("UPDATE requests SET answered = 1, mark = ? WHERE key = ?", mark, key)
        return self._is_last(key)

    def marked(self, key: str) -> None:
        """The message of a request has the reaction that it was due."""
        self._run("UPDATE requests SET mark = '' WHERE key = ?", key)

    def unmarked(self) -> list[tuple[SlackRequest, str, bool]]:
        """Answered requests with the reactions due to their messages, and whether all of each message is answered."""
        rows = self._run("SELECT body, mark, key FROM requests WHERE answered AND mark != '' ORDER BY number")
        return [(SlackRequest.from_dict(json.loads(body)), mark, self._is_last(key)) for body, mark, key in rows]

    def progress(self, key: str) -> RequestProgress:
        """How far a request that was received is answered."""
        [row] = self._run("SELECT body, note, diagnosis, pictured FROM requests WHERE key = ?", key)
        return _progress(row)

    def waiting(self) -> list[RequestProgress]:
        """What is not answered, in the order in which it came."""
        rows = self._run("SELECT body, note, diagnosis, pictured FROM requests WHERE NOT answered ORDER BY number")
        return [_progress(row) for row in rows]

    def latest(self, channel: str, thread: str | None) -> str:
        """The last diagnosis in a thread, or in the whole channel for None; empty if there is none."""
        rows = self._run(
            "SELECT diagnosis FROM requests WHERE channel = ? AND (? IS NULL OR thread = ?) AND diagnosis != '' "
            "ORDER BY number DESC LIMIT 1",
            channel,
            thread,
            thread,
        )
        return str(rows[0][0]) if rows else ""

    def is_known(self, channel: str, thread: str) -> bool:
        """Whether anything was asked in a thread."""
        return bool(self._run("SELECT 1 FROM requests WHERE channel = ? AND thread = ? LIMIT 1", channel, thread))

    def origin(self, diagnosis: str) -> SlackRequest | None:
        """The request that brought the image of a diagnosis; None if it is forgotten."""
        query = "SELECT o.body FROM requests r JOIN requests o ON o.key = r.origin WHERE r.diagnosis = ? LIMIT 1"
        rows = self._run(query, diagnosis)
        return SlackRequest.from_dict(json.loads(rows[0][0])) if rows else None

    def told(self) -> set[str]:
        """The agents of which people were told that they have become worse."""
        return {name for (name,) in self._run("SELECT name FROM told")}

    def tell(self, name: str) -> None:
        """People were told of an agent."""
        self._run("INSERT OR IGNORE INTO told VALUES (?)", name)

    def untell(self, name: str) -> None:
        """An agent has become better: of its next fall people are told anew."""
        self._run("DELETE FROM told WHERE name = ?", name)

    def close(self) -> None:
        with self._turn:
            self._file.close()
        self._owner.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _is_last(self, key: str) -> bool:
        return not self._run(
            "SELECT 1 FROM requests r JOIN requests mine ON r.channel = mine.channel AND r.message = mine.message "
            "WHERE mine.key = ? AND NOT r.answered",
            key,
        )

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._complaints(), self._turn:
            return self._file.execute(statement, values).fetchall()

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as cause:
            raise InboxError(
                f"the journal '{self.path}' cannot be used ({cause}): check that there is room, that this user may "
                "write to it, and that it is a journal; or name another file with --journal"
            ) from cause


def _progress(row: tuple[Any, ...]) -> RequestProgress:
    body, note, diagnosis, is_pictured = row
    return RequestProgress(SlackRequest.from_dict(json.loads(body)), note, diagnosis, bool(is_pictured))
