"""Inbox: what Slack has delivered and how far it is answered, on disk, so that a restart loses and doubles nothing.

A request is written before Slack is told that it has arrived. One bot at a time owns the inbox.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from consilience.core.errors import SlackError
from consilience.core.storage.owner_lock import LockHeldError, hold_lock
from consilience.core.storage.sqlite_file import SqliteFile
from consilience.frontends.slack.request import SlackRequest

KEPT_DAYS = 90
"""Days after which an answered request is forgotten: follow-ups in its thread are no longer understood."""

FORMAT = 1
"""Of the file; one of another format is refused."""

_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL, received REAL NOT NULL,
    channel TEXT NOT NULL, thread TEXT NOT NULL, message TEXT NOT NULL,
    bot_message TEXT NOT NULL DEFAULT '', diagnosis TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT '',
    pictured INTEGER NOT NULL DEFAULT 0, answered INTEGER NOT NULL DEFAULT 0, reaction TEXT NOT NULL DEFAULT ''
)
"""
_ANNOUNCED = "CREATE TABLE IF NOT EXISTS announced (name TEXT PRIMARY KEY)"
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS by_thread ON requests (channel, thread)",
    "CREATE INDEX IF NOT EXISTS by_diagnosis ON requests (diagnosis)",
    "CREATE INDEX IF NOT EXISTS by_state ON requests (answered)",
)


@dataclass(frozen=True, slots=True)
class RequestProgress:
    """How far a request is answered.

    Attributes:
        request: the request.
        bot_message: timestamp of the bot's message, which says that it is at work and becomes the answer; empty: none.
        diagnosis: id of the diagnosis that was made for it; empty: none yet.
        is_pictured: whether the picture of the evidence was shown.
    """

    request: SlackRequest
    bot_message: str = ""
    diagnosis: str = ""
    is_pictured: bool = False


class InboxError(SlackError):
    """The inbox cannot be read or written, perhaps for now."""


class Inbox:
    """The requests of one bot, in an SQLite file; safe from many threads, and a context manager.

    Every method raises InboxError if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Open it, or make a new one.

        Raises:
            SlackError: another bot owns it.
            InboxError: it cannot be used, or is of another format.
        """
        self.path = path
        with self._sqlite_errors():
            try:
                self._owner = hold_lock(path.with_name(f"{path.name}.lock"))
            except LockHeldError as cause:
                raise SlackError(
                    f"the inbox '{path}' is in use by {cause.holder}: stop that bot first, or name another file with "
                    "--inbox"
                ) from cause
            self._file = SqliteFile(path, self._prepare, durable=True)
        long_ago = time.time() - KEPT_DAYS * 86400
        self._run("DELETE FROM requests WHERE answered AND received < ?", long_ago)

    def _prepare(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != FORMAT:
            raise InboxError(
                f"the inbox '{self.path}' is of another version of consilience: name another file with --inbox"
            )
        for statement in (_TABLE, _ANNOUNCED, *_INDEXES, f"PRAGMA user_version = {FORMAT:d}"):
            database.execute(statement)

    def receive(self, requests: Sequence[SlackRequest]) -> list[SlackRequest]:
        """Write requests down, and return those that were not delivered before."""
        new = []
        with self._sqlite_errors(), self._file.transaction() as database:
            for request in requests:
                values = (
                    request.key,
                    json.dumps(request.to_dict()),
                    time.time(),
                    request.channel,
                    request.thread,
                    request.message,
                )
                added = database.execute(
                    "INSERT OR IGNORE INTO requests (key, body, received, channel, thread, message) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    values,
                )
                new += [request] if added.rowcount else []
        return new

    def record_message(self, key: str, bot_message: str) -> None:
        """Record the timestamp of the bot's message that becomes the answer."""
        self._run("UPDATE requests SET bot_message = ? WHERE key = ?", bot_message, key)

    def record_diagnosis(self, key: str, diagnosis: str, before: str = "") -> None:
        """Record the diagnosis that was made for a request.

        Args:
            before: the earlier diagnosis of the same image, if it was looked at again.
        """
        self._run(
            "UPDATE requests SET diagnosis = ?, origin = coalesce((SELECT origin FROM requests WHERE diagnosis = ? AND "
            "diagnosis != ''), key) WHERE key = ?",
            diagnosis,
            before,
            key,
        )

    def record_picture(self, key: str) -> None:
        """Record that the picture of the evidence was shown."""
        self._run("UPDATE requests SET pictured = 1 WHERE key = ?", key)

    def record_answer(self, key: str, reaction: str = "") -> bool:
        """Record that a request is answered, and return whether all requests of its message are.

        Args:
            reaction: the reaction that its message is due.
        """
        self._run("UPDATE requests SET answered = 1, reaction = ? WHERE key = ?", reaction, key)
        return self._is_last(key)

    def record_reaction(self, key: str) -> None:
        """Record that the message of a request has the reaction that it was due."""
        self._run("UPDATE requests SET reaction = '' WHERE key = ?", key)

    def reactions_due(self) -> list[tuple[SlackRequest, str, bool]]:
        """Return answered requests, the reactions due to their messages, and whether all of each is answered."""
        rows = self._run("SELECT body, reaction, key FROM requests WHERE answered AND reaction != '' ORDER BY number")
        return [
            (SlackRequest.from_dict(json.loads(body)), reaction, self._is_last(key)) for body, reaction, key in rows
        ]

    def progress(self, key: str) -> RequestProgress:
        """Return how far a request that was received is answered."""
        [row] = self._run("SELECT body, bot_message, diagnosis, pictured FROM requests WHERE key = ?", key)
        return _progress(row)

    def unanswered(self) -> list[RequestProgress]:
        """Return what is not answered, in the order in which it came."""
        rows = self._run(
            "SELECT body, bot_message, diagnosis, pictured FROM requests WHERE NOT answered ORDER BY number"
        )
        return [_progress(row) for row in rows]

    def latest(self, channel: str, thread: str | None) -> str:
        """Return the id of the last diagnosis in a thread (None: in the whole channel); empty if there is none."""
        rows = self._run(
            "SELECT diagnosis FROM requests WHERE channel = ? AND (? IS NULL OR thread = ?) AND diagnosis != '' "
            "ORDER BY number DESC LIMIT 1",
            channel,
            thread,
            thread,
        )
        return str(rows[0][0]) if rows else ""

    def before(self, diagnosis: str) -> str:
        """Return the id of the last diagnosis of the image before this one's in its channel; empty if there is none."""
        rows = self._run(
            "SELECT e.diagnosis FROM requests r JOIN requests o ON o.key = r.origin JOIN requests e "
            "ON e.channel = o.channel AND e.number < o.number AND e.origin != o.key AND e.diagnosis != '' "
            "WHERE r.diagnosis = ? ORDER BY e.number DESC LIMIT 1",
            diagnosis,
        )
        return str(rows[0][0]) if rows else ""

    def is_known(self, channel: str, thread: str) -> bool:
        """Return whether anything was asked in a thread."""
        return bool(self._run("SELECT 1 FROM requests WHERE channel = ? AND thread = ? LIMIT 1", channel, thread))

    def origin(self, diagnosis: str) -> SlackRequest | None:
        """Return the request that brought the image of a diagnosis; None if it is forgotten."""
        query = "SELECT o.body FROM requests r JOIN requests o ON o.key = r.origin WHERE r.diagnosis = ? LIMIT 1"
        rows = self._run(query, diagnosis)
        return SlackRequest.from_dict(json.loads(rows[0][0])) if rows else None

    def announced(self) -> set[str]:
        """Return the agents of which the channel was told that they have become worse."""
        return {name for (name,) in self._run("SELECT name FROM announced")}

    def record_announcement(self, name: str) -> None:
        """Record that the channel was told of an agent."""
        self._run("INSERT OR IGNORE INTO announced VALUES (?)", name)

    def remove_announcement(self, name: str) -> None:
        """Record that an agent has become better: when it becomes worse again, the channel is told again."""
        self._run("DELETE FROM announced WHERE name = ?", name)

    def close(self) -> None:
        """Close the file, and let another bot own it."""
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
        with self._sqlite_errors(), self._file.transaction() as database:
            return database.execute(statement, values).fetchall()

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as cause:
            raise InboxError(
                f"the inbox '{self.path}' cannot be used ({cause}): check that the disk has room, that you may write "
                "to the file, and that it is an inbox; or name another file with --inbox"
            ) from cause


def _progress(row: tuple[Any, ...]) -> RequestProgress:
    body, bot_message, diagnosis, is_pictured = row
    return RequestProgress(SlackRequest.from_dict(json.loads(body)), bot_message, diagnosis, bool(is_pictured))
