"""A manifest: a table with a row for each labelled image, streamed.

    images.csv       columns `path`, `label` and, if it is known, `group`: the thing that the image shows
    images.parquet   the same
    images.jsonl     a JSON object a line, with the same keys

A path is relative to the manifest's folder, or an address: http(s), or one of a store (stored.py).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.core.errors import DatasetError
from consilience.core.sources.stored import check_address

PATH, LABEL, GROUP = "path", "label", "group"
CSV, PARQUET, JSON_LINES = ".csv", ".parquet", ".jsonl"
MANIFESTS = (CSV, PARQUET, JSON_LINES)
"""Endings of the names of manifests, in upper or lower case."""

LONGEST_LINE = 2**20
"""Characters of a line of JSON, at most."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One labelled image of a manifest, not yet opened.

    Attributes:
        path: as written: relative to the manifest's folder, absolute, or an address.
        label: without spaces around it.
        group: the name of the thing that the image shows; None where the manifest names none.
    """

    path: str
    label: str
    group: str | None = None


def is_manifest(source: Path) -> bool:
    """Return whether `source` is named like a manifest, and is no folder."""
    return source.suffix.lower() in MANIFESTS and not os.path.isdir(source)  # no error for a name that is too long


class Manifest:
    """A table of labelled images.

    Args:
        path: a .csv, .parquet or .jsonl file.

    Attributes:
        fingerprint: SHA-256 of the file.

    Raises:
        DatasetError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as cause:
            raise DatasetError(f"the manifest '{path}' cannot be read: {cause.strerror}") from cause

    def rows(self) -> Iterator[ManifestRow]:
        """Yield each row.

        Raises:
            DatasetError: the file is no such table, or a row cannot be used; the message names the row.
            MissingExtraError: the package for a store that is named is not installed.
        """
        read = {CSV: self._csv, PARQUET: self._parquet, JSON_LINES: self._json_lines}[self.path.suffix.lower()]
        for number, (path, label, group) in enumerate(read(), 1):
            for name, cell in ((PATH, path), (LABEL, label)):
                if not isinstance(cell, str) or not cell.strip():
                    problem = "is empty" if cell is None or isinstance(cell, str) else f"is {cell!r}, not text"
                    raise self._refusal(number, f"'{name}' {problem}")
            if isinstance(group, int) and not isinstance(group, bool):
                group = str(group)
            if not (group is None or isinstance(group, str)):
                raise self._refusal(number, f"'{GROUP}' is {group!r}, neither text nor a whole number")
            try:
                check_address(path)
            except DatasetError as cause:
                raise DatasetError(f"the manifest '{self.path}', row {number}: {cause}") from cause
            yield ManifestRow(path, label.strip(), (group or "").strip() or None)

    def full_path(self, row: ManifestRow) -> str:
        """Return the absolute path, or the address, of a row's image."""
        return row.path if "://" in row.path else os.path.join(os.path.abspath(self.path.parent), row.path)

    def _refusal(self, number: int, problem: str) -> DatasetError:
        return DatasetError(f"the manifest '{self.path}', row {number}: {problem}; correct the row")

    def _csv(self) -> Iterator[Sequence[Any]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.reader(file, strict=True)
                columns = next(table, [])
                self._check_columns(columns)
                places = [columns.index(name) for name in (PATH, LABEL, GROUP) if name in columns]
                for row in filter(None, table):
                    if len(row) != len(columns):
                        raise DatasetError(
                            f"the manifest '{self.path}', line {table.line_num}: {len(row)} cells for {len(columns)} "
                            "columns; correct the line, or put cells with commas in quotes"
                        )
                    yield self._cells([row[place] for place in places])
        except (UnicodeDecodeError, csv.Error) as cause:
            raise DatasetError(f"the manifest '{self.path}' is not a CSV file in UTF-8 ({cause})") from cause

    def _parquet(self) -> Iterator[Sequence[Any]]:
        import pyarrow
        import pyarrow.parquet

        def is_text(kind: Any) -> bool:
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))

        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                names = file.schema_arrow.names
                self._check_columns(names)
                columns = [name for name in (PATH, LABEL, GROUP) if name in names]
                for name in columns:
                    kind = file.schema_arrow.field(name).type
                    if not is_text(kind) and not (name == GROUP and pyarrow.types.is_integer(kind)):
                        raise DatasetError(f"the manifest '{self.path}': the column '{name}' holds {kind}, not text")
                for batch in file.iter_batches(columns=columns):
                    yield from map(self._cells, zip(*(batch.column(name).to_pylist() for name in columns), strict=True))
        except pyarrow.ArrowException as cause:
            raise DatasetError(f"the manifest '{self.path}' is not a Parquet file ({cause})") from cause

    def _json_lines(self) -> Iterator[Sequence[Any]]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                number = 0
                while line := file.readline(LONGEST_LINE):
                    number += 1
                    if not line.strip():
                        continue
                    row = _json_object(line)
                    if row is None or not {PATH, LABEL} <= row.keys():
                        raise DatasetError(
                            f"the manifest '{self.path}', line {number} is no JSON object with '{PATH}' and '{LABEL}'; "
                            "correct the line"
                        )
                    yield row[PATH], row[LABEL], row.get(GROUP)
        except UnicodeDecodeError as cause:
            raise DatasetError(f"the manifest '{self.path}' is not in UTF-8 ({cause})") from cause

    def _cells(self, cells: Sequence[Any]) -> Sequence[Any]:
        return cells if len(cells) > 2 else (*cells, None)

    def _check_columns(self, columns: list[str]) -> None:
        for name in (PATH, LABEL, GROUP):
            if columns.count(name) > 1 or (name != GROUP and name not in columns):
                problem = "has no column" if name not in columns else "has more than one column"
                listed = ", ".join(columns) or "none"
                raise DatasetError(f"the manifest '{self.path}' {problem} '{name}' (its columns: {listed})")


def _json_object(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
