"""Keeps models' answers on disk, so that the same question is not paid for twice."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consilience.core.errors import AgentError
from consilience.core.prediction import Prediction
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.sqlite_file import SqliteFile
from consilience.core.storage.user_folders import make_private_folder

log = logging.getLogger(__name__)

_FORMAT = 1
_TABLE = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, image TEXT NOT NULL,
    prediction TEXT NOT NULL, used INTEGER NOT NULL
)
"""
_INDEX = "CREATE INDEX by_use ON answers (used)"
_KEEP = "INSERT OR REPLACE INTO answers SELECT ?, ?, ?, ?, ?, coalesce(max(used), 0) + 1 FROM answers"
_TOUCH = "UPDATE answers SET used = (SELECT max(used) + 1 FROM answers) WHERE key = ?"
_ANSWERED = "SELECT DISTINCT image FROM answers WHERE model = ? AND prompt = ?"
_FORGET = "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used LIMIT 8)"
_ALL = "SELECT key, model, prompt, image, prediction FROM answers ORDER BY used"


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept answer.

    Attributes:
        key: hash of all that decided it.
        model: the model's name.
        prompt: the prompts with their versions.
        image: the image's identity.
        stage: "first" or "second" look.
        label: what was answered; None: the agent abstained.
        bytes: the size of its JSON.
    """

    key: str
    model: str
    prompt: str
    image: str
    stage: str
    label: str | None
    bytes: int


class ReplyCache:
    """Models' answers in one SQLite file; safe for several threads and processes, and after a fork.

    Failed predictions are never kept. When the answers take more than `max_bytes`, the longest unused are deleted.
    Where `get` or `put` fails (a full disk, a lock held for too long), it is logged and the answer counts as not kept.

    Raises:
        AgentError: the file cannot be opened, or is no reply cache; or a method other than `get` and `put` finds it
            damaged.
    """

    def __init__(self, path: str | Path, max_bytes: int = 256 * 2**20) -> None:
        self.path, self.max_bytes = Path(path), max_bytes
        try:
            make_private_folder(self.path.parent)
            self._file = SqliteFile(self.path, self._prepare)
        except (sqlite3.Error, OSError) as cause:
            raise AgentError(f"the reply cache '{path}' cannot be used ({cause}); name another file") from cause

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Make the table in a new file. Raises AgentError if the file holds something else."""
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == _FORMAT:
            return
        if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise AgentError(f"'{self.path}' is no reply cache of format {_FORMAT}; delete it or name another file")
        for statement in (_TABLE, _INDEX, f"PRAGMA user_version = {_FORMAT}"):
            database.execute(statement)

    def get(self, key: str) -> Prediction | None:
        """Return the answer kept under `key`, and note that it was used; None if there is none."""
        try:
            with self._file.transaction() as database:
                row = database.execute("SELECT prediction FROM answers WHERE key = ?", (key,)).fetchone()
                if row is None:
                    return None
                database.execute(_TOUCH, (key,))
                return Prediction.from_dict(parsed_json(row[0]))
        except (sqlite3.Error, ValueError, TypeError) as cause:
            log.warning("the reply cache '%s' could not be read (%s)", self.path, cause)
            return None

    def images_answered(self, model: str, prompt: str) -> set[str]:
        """Return the identities of the images of which an answer by a model to these prompts is kept."""
        try:
            with self._file.transaction() as database:
                return {image for (image,) in database.execute(_ANSWERED, (model, prompt))}
        except sqlite3.Error as cause:
            log.warning("the reply cache '%s' could not be read (%s)", self.path, cause)
            return set()

    def put(self, key: str, model: str, image: str, prediction: Prediction) -> None:
        """Keep an answer, unless it is a failed prediction.

        Args:
            key: hash of all that decided it.
            model: the model's name.
            image: the image's identity.
            prediction: the answer.
        """
        if prediction.error is not None:
            return
        try:
            with self._file.transaction() as database:
                database.execute(_KEEP, (key, model, prediction.prompt, image, json.dumps(prediction.to_dict())))
                self._make_room(database)
        except sqlite3.Error as cause:
            log.warning("the reply cache '%s' could not be written (%s)", self.path, cause)

    def entries(self) -> list[Entry]:
        """Return all answers that are kept, the longest unused first."""
        with self._readable() as database:
            return [_entry(*row) for row in database.execute(_ALL)]

    def __len__(self) -> int:
        """Return the number of answers that are kept."""
        with self._readable() as database:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])

    @property
    def size_bytes(self) -> int:
        """The size of the answers in the file, in bytes."""
        with self._readable() as database:
            return _size(database)

    def clear(self) -> None:
        """Delete all answers, and give the space on the disk back."""
        with self._readable() as database:
            database.execute("DELETE FROM answers")
            database.commit()
            database.execute("VACUUM")

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Delete the longest unused answers until the rest is within `max_bytes`."""
        while _size(database) > self.max_bytes:
            if database.execute(_FORGET).rowcount == 0:
                return

    @contextmanager
    def _readable(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction whose errors, unlike those of `get` and `put`, are raised as AgentError."""
        try:
            with self._file.transaction() as database:
                yield database
        except (sqlite3.Error, ValueError, TypeError, KeyError) as cause:
            raise AgentError(
                f"the reply cache '{self.path}' cannot be read ({cause}); delete it, if damaged"
            ) from cause


def _entry(key: str, model: str, prompt: str, image: str, text: str) -> Entry:
    """Return the entry of a row of the table."""
    kept = parsed_json(text)
    return Entry(key, model, prompt, image, kept["stage"], kept["label"], len(text))


def _size(database: sqlite3.Connection) -> int:
    """Return the bytes of the database's pages in use."""
    pages, free, page = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page)
