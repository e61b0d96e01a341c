"""A manifest: a table with a row for each labelled image, streamed.

    images.csv       columns `path`, `label` and, if it is known, `group`: the thing that the image shows
    images.parquet   the same
    images.jsonl     a JSON object a line, with the same keys

A path is relative to the manifest's folder, or an address: http(s), or one of a store (stored.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.core.errors import DatasetError
from consilience.core.sources.stored import check_address
from consilience.core.sources.table_file import JSON_LINES, TableFile

PATH, LABEL, GROUP = "path", "label", "group"


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
        self.path, self._table = path, TableFile(path, "the manifest")
        self.fingerprint = self._table.fingerprint()

    def rows(self) -> Iterator[ManifestRow]:
        """Yield each row.

        Raises:
            DatasetError: the file is no such table, or a row cannot be used; the message names the row.
            MissingExtraError: the package for a store that is named is not installed.
        """
        if self.path.suffix.lower() != JSON_LINES:
            columns = self._table.columns()
            if missing := [name for name in (PATH, LABEL) if name not in columns]:
                listed = ", ".join(columns) or "none"
                raise DatasetError(f"{self._table.name} has no column '{missing[0]}' (its columns: {listed})")
        for number, cells in enumerate(self._table.rows((PATH, LABEL, GROUP)), 1):
            given: dict[str, Any] = {name: cells.get(name) for name in (PATH, LABEL, GROUP)}
            path, label, group = given.values()
            for name, cell in ((PATH, path), (LABEL, label)):
                if not isinstance(cell, str) or not cell.strip():
                    problem = "is empty" if cell is None or isinstance(cell, str) else f"is {cell!r}, not text"
                    raise self._table.refusal(number, f"'{name}' {problem}")
            if isinstance(group, int) and not isinstance(group, bool):
                group = str(group)
            if not (group is None or isinstance(group, str)):
                raise self._table.refusal(number, f"'{GROUP}' is {group!r}, neither text nor a whole number")
            try:
                check_address(path)
            except DatasetError as cause:
                raise DatasetError(f"{self._table.name}, row {number}: {cause}") from cause
            yield ManifestRow(path, label.strip(), (group or "").strip() or None)

    def full_path(self, row: ManifestRow) -> str:
        """Return the absolute path, or the address, of a row's image."""
        return row.path if "://" in row.path else os.path.join(os.path.abspath(self.path.parent), row.path)
