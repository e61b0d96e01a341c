"""A table in a file, read row by row: CSV, Parquet, or JSON lines."""

from __future__ import annotations

import codecs
import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from consilience.core.errors import DatasetError
from consilience.core.storage.json_text import parsed_json

CSV, PARQUET, JSON_LINES = ".csv", ".parquet", ".jsonl"
TABLES = (CSV, PARQUET, JSON_LINES)
"""Endings of the names of tables, in upper or lower case."""

LONGEST_LINE = 2**20
"""Characters of a line of JSON, at most."""


def is_table(source: Path) -> bool:
    """Return whether `source` is named like a table, and is no folder."""
    return source.suffix.lower() in TABLES and not os.path.isdir(source)  # no error for a name that is too long


class TableFile:
    """A table in a file.

    Args:
        path: a .parquet or .jsonl file; else it is CSV.
        called: what it is, in messages.
    """

    def __init__(self, path: Path, called: str) -> None:
        self.path, self.name = path, f"{called} '{path}'"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file. Raises DatasetError if it cannot be read."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as cause:
            raise DatasetError(f"{self.name} cannot be read: {cause.strerror}") from cause

    def columns(self) -> list[str]:
        """Return the names of the columns; of JSON lines, the keys of the first row. Raises DatasetError as `rows`."""
        columns: list[str] = next(self._tables(()), [])
        return columns

    def rows(self, wanted: Sequence[str] | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield each row by column: text in CSV, values of their own kinds in the others.

        Args:
            wanted: columns to read, those that there are; None: all.

        Raises:
            DatasetError: it cannot be read, is no such table, or has a column twice; names the line if it is one.
        """
        tables = self._tables(wanted)
        next(tables, None)
        yield from tables

    def refusal(self, row: int, problem: str, remedy: str = "correct the row") -> DatasetError:
        """Return the error that a row, counted from 1, cannot be used."""
        return DatasetError(f"{self.name}, row {row}: {problem}; {remedy}")

    def _tables(self, wanted: Sequence[str] | None) -> Iterator[Any]:
        """Yield the columns, then each row."""
        kinds = {PARQUET: self._parquet, JSON_LINES: self._json_lines}
        read = kinds.get(self.path.suffix.lower(), self._csv)
        try:
            yield from read(wanted)
        except OSError as cause:
            raise DatasetError(f"{self.name} cannot be read: {cause.strerror}") from cause
        except UnicodeDecodeError as cause:
            raise DatasetError(f"{self.name} is not in UTF-8 ({self._undecodable(cause)}); save it as UTF-8") from cause

    def _csv(self, wanted: Sequence[str] | None) -> Iterator[Any]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.reader(file, strict=True)
                columns = next(table, [])
                if "\0" in "".join(columns):
                    raise DatasetError(f"{self.name} looks like UTF-16, not UTF-8; save it as UTF-8")
                yield columns
                places = [(name, at) for at, name in enumerate(columns) if wanted is None or name in wanted]
                self._check_once([name for name, _ in places])
                for cells in filter(None, table):
                    if len(cells) != len(columns):
                        raise DatasetError(
                            f"{self.name}, line {table.line_num}: {len(cells)} cells for {len(columns)} columns; "
                            "correct the line, or put cells with commas in quotes"
                        )
                    yield {name: cells[at] for name, at in places}
        except csv.Error as cause:
            raise DatasetError(f"{self.name}, line {table.line_num}, is not CSV ({cause}); correct the line") from cause

    def _parquet(self, wanted: Sequence[str] | None) -> Iterator[Any]:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                columns = file.schema_arrow.names
                yield columns
                chosen = [name for name in columns if wanted is None or name in wanted]
                self._check_once(chosen)
                for batch in file.iter_batches(columns=chosen):
                    for cells in zip(*(batch.column(name).to_pylist() for name in chosen), strict=True):
                        yield dict(zip(chosen, cells, strict=True))
        except pyarrow.ArrowException as cause:
            raise DatasetError(f"{self.name} is not a Parquet file ({cause})") from cause

    def _json_lines(self, wanted: Sequence[str] | None) -> Iterator[Any]:
        with self.path.open(encoding="utf-8-sig") as file:
            number, is_first = 0, True
            while line := file.readline(LONGEST_LINE):
                number += 1
                if not line.strip():
                    continue
                if (row := _json_object(line)) is None:
                    raise DatasetError(f"{self.name}, line {number} is no JSON object; correct the line")
                if is_first:
                    yield list(row)
                    is_first = False
                yield row

    def _check_once(self, columns: Sequence[str]) -> None:
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise DatasetError(
                f"{self.name} has more than one column {', '.join(map(repr, twice))}; rename or remove all but one"
            )

    def _undecodable(self, cause: UnicodeDecodeError) -> str:
        """Return which line holds which byte that is not UTF-8: what is read is decoded in blocks of many lines."""
        with self.path.open("rb") as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                return "it is UTF-16"
            file.seek(0)
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8-sig")
                except UnicodeDecodeError as problem:
                    return f"line {number}: byte 0x{line[problem.start]:02x}, perhaps Latin-1"
        return str(cause)


def _json_object(line: str) -> Mapping[str, Any] | None:
    try:
        row = parsed_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
