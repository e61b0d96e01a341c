"""A SQLite file: opened by several at once, written whole, another's left alone."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from consilience.core.storage.sqlite_file import SqliteFile


def prepare(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")


def refuse(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE mine (x)")
    raise sqlite3.DatabaseError("something else")


def test_a_new_file_is_made_once_though_many_open_it(tmp_path: Path) -> None:
    def write(text: str) -> None:
        with closing(SqliteFile(tmp_path / "notes", prepare)) as file, file.transaction() as database:
            database.execute("INSERT INTO notes VALUES (?)", (text,))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, "abcdefgh"))
    with closing(SqliteFile(tmp_path / "notes", prepare)) as file, file.transaction() as database:
        assert [text for (text,) in database.execute("SELECT text FROM notes ORDER BY text")] == list("abcdefgh")
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_error_takes_the_transaction_back(tmp_path: Path) -> None:
    with closing(SqliteFile(tmp_path / "notes", prepare)) as file:
        with pytest.raises(sqlite3.OperationalError), file.transaction() as database:
            list(map(database.execute, ("INSERT INTO notes VALUES ('a')", "nonsense")))
        with file.transaction() as database:
            assert database.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_what_is_refused_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    SqliteFile(path, prepare).close()
    content = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="something else"):
        SqliteFile(path, refuse)
    assert path.read_bytes() == content
