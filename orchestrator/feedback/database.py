"""The database behind history, feedback and learning: tables, transactions and errors.

It is an SQLite file in the panel's folder by default. At a URL, one database may serve many panels, each under its own
id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from consilience.core.errors import HistoryError, first_line
from consilience.core.storage.panel_folder import HISTORY, read_manifest
from consilience.core.storage.sqlite_file import BUSY_SECONDS, make_database_file, set_up

TABLES = MetaData()

DIAGNOSES = Table(
    "consilience_diagnoses",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("panel", String(32), nullable=False),
    Column("moment", BigInteger, nullable=False),
    Column("label", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("identity", String(64), nullable=False),
    Column("channel", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("encoder", Text),
    Column("vector", LargeBinary),
    Column("thumbnail", LargeBinary),
    Index("consilience_diagnoses_of_panel", "panel", "number"),
)
"""Kept diagnoses; `record` is `Diagnosis.to_dict` as JSON, `vector` float32 as bytes, `encoder` what made it."""

FEEDBACK = Table(
    "consilience_feedback",
    TABLES,
    Column("diagnosis", String(32), primary_key=True),
    Column("person", String(200), primary_key=True),
    Column("panel", String(32), nullable=False),
    Column("label", Text, nullable=False),
    Column("moment", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("change", Integer),
    Index("consilience_feedback_of_panel", "panel", "status"),
)
"""One vote of one person on one diagnosis; `change` is the change of the panel that learned it."""

CHANGES = Table(
    "consilience_changes",
    TABLES,
    Column("panel", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("moment", BigInteger, nullable=False),
    Column("undone", BigInteger),
    Column("record", Text, nullable=False),
)
"""What a panel learned; `record` is JSON."""

STREAMS = Table(
    "consilience_streams",
    TABLES,
    Column("panel", String(32), primary_key=True),
    Column("source", String(200), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("moment", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
"""Where the watch on each source of images stands; `record` is JSON. `version` counts the writes: two writers who began
with the same one do not overwrite each other."""

STREAM_IMAGES = Table(
    "consilience_stream_images",
    TABLES,
    Column("panel", String(32), primary_key=True),
    Column("source", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("identity", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)
"""The last images of each source; `vector` float16 as bytes, `encoder` what made it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_moment(when: datetime) -> int:
    """Return a time as microseconds since 1970, UTC. A time without a zone is taken for this machine's.

    >>> to_moment(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (when.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def from_moment(moment: int) -> datetime:
    """Return the time that `to_moment` made a number of, UTC."""
    return _EPOCH + timedelta(microseconds=moment)


def now() -> int:
    """Return the present time as `to_moment` does."""
    return to_moment(datetime.now(UTC))


class Database:
    """The opened tables of one panel. Safe from many threads and several processes, but not over a fork.

    Attributes:
        folder: the panel's folder.
        panel: the panel's id.
        name: what to call the database in messages; holds no password.

    Raises:
        PanelError: there is no panel in the folder.
        HistoryError: the database cannot be opened, is damaged or no database, or its driver is not installed.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder = folder
        self.panel = str(read_manifest(folder)["id"])
        try:
            where = make_url(url if url is not None else f"sqlite:///{folder / HISTORY}")
        except ArgumentError as cause:  # its message may quote a password
            raise HistoryError(
                "history.url is not the address of a database, such as postgresql://host/name"
            ) from cause
        self.name = str(folder / HISTORY) if url is None else where.render_as_string(hide_password=True)
        try:
            options = {"connect_args": {"timeout": BUSY_SECONDS}} if where.get_backend_name() == "sqlite" else {}
            self._engine = create_engine(where, pool_pre_ping=not options, **options)
        except (ImportError, NoSuchModuleError) as cause:
            raise HistoryError(f"'{self.name}' needs a driver that is not installed ({cause})") from cause
        if options:
            event.listen(self._engine, "connect", _set_up_sqlite)
        if options and where.database not in (None, "", ":memory:") and not where.query:
            self._make_file(Path(str(where.database)))
        with self.transaction():  # a file that is no database shows here
            pass
        _make_tables(self._engine, self._failed)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open one transaction: all of it is committed at the end, or nothing.

        Raises:
            HistoryError: the database is locked, full, read-only, damaged or cannot be reached.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as cause:
            raise self._failed(cause) from cause

    def close(self) -> None:
        """Close the connections. A second call does nothing."""
        self._engine.dispose()

    def _make_file(self, path: Path) -> None:
        try:
            make_database_file(path)
        except sqlite3.Error as cause:
            raise self._failed(cause) from cause

    def _failed(self, cause: Exception) -> HistoryError:
        message = first_line(getattr(cause, "orig", None) or cause)
        remedies = {
            "locked": "another process is writing it: try again in a moment",
            "full": "make room on the disk, then try again",
            "readonly": "it cannot be written: check the permissions of its folder",
            "read-only": "it cannot be written: check the permissions of its folder",
            "malformed": "it is damaged: restore a copy, or move it away to start a new one",
            "not a database": "it is damaged or no database: move it away to start a new one",
            "unable to open": "check the path and its permissions",
            "no such column": "another version of Consilience wrote it: move it away to start a new one",
        }
        remedy = next(
            (words for sign, words in remedies.items() if sign in message), "check the database, then try again"
        )
        return HistoryError(f"the history '{self.name}' cannot be used ({message}): {remedy}")


def _set_up_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA secure_delete = ON")  # what is deleted is gone from the file, too
    finally:
        cursor.close()
    set_up(connection)


def _make_tables(engine: Engine, failed: Any) -> None:
    try:
        TABLES.create_all(engine)
    except SQLAlchemyError:
        try:
            TABLES.create_all(engine)  # another process made some meanwhile
        except SQLAlchemyError as cause:
            raise failed(cause) from cause


def to_json(data: Any) -> str:
    """Return JSON text; a file name that is not Unicode survives as escapes."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False)
