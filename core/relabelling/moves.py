"""Moves of images from one label's folder into another's: read from a table, and checked before anything is touched.

    moves.csv     columns `path` and `new_label`; others are passed over (Parquet and JSON lines as well)

A path is relative to the labelled folder, or absolute and inside it. A row without a new label moves nothing.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from consilience.core.dataset import PARTS
from consilience.core.errors import DatasetError
from consilience.core.sources.manifest import PATH
from consilience.core.sources.table_file import TableFile
from consilience.core.task import plain

NEW_LABEL = "new_label"


@dataclass(frozen=True, slots=True)
class Move:
    """A file and where it goes; both are paths below the labelled folder, with slashes, such as 'rust/017.jpg'."""

    source: str
    target: str


def read_moves(table: Path, folder: Path) -> list[Move]:
    """Return the moves of a table, after checking that every one of them can be made.

    A file keeps its path below its label's folder: 'train/rust/a/1.jpg' goes to 'train/scab/a/1.jpg'.

    Args:
        table: a .csv, .parquet or .jsonl file.
        folder: the labelled folder that holds the files.

    Raises:
        DatasetError: the table cannot be read, or a row cannot be followed: the file is missing, is a link, or lies
            elsewhere or behind a link; the label has no folder; or another file has that name there. The message names
            the row.
    """
    if not folder.is_dir():
        raise DatasetError(f"'{folder}' is no folder; name the labelled folder whose images are to be moved")
    read = TableFile(table, "the table of moves")
    if missing := [name for name in (PATH, NEW_LABEL) if name not in read.columns()]:
        raise DatasetError(f"{read.name} has no column '{missing[0]}'; write such a table with `suspects --moves`")
    moves: list[Move] = []
    named: dict[str, int] = {}
    for number, cells in enumerate(read.rows((PATH, NEW_LABEL)), 1):
        path, label = cells.get(PATH), cells.get(NEW_LABEL)
        if label is None or (isinstance(label, str) and not label.strip()):
            continue
        if not isinstance(path, str) or not isinstance(label, str):
            raise read.refusal(number, "path and new_label must be text")
        try:
            move = _move(folder, path, label)
            for name in (move.source, move.target) if move else ():
                if (other := named.setdefault(name, number)) != number:
                    raise DatasetError(f"'{name}' is named in row {other} already")
        except DatasetError as cause:
            raise read.refusal(number, str(cause), "correct or remove the row: nothing was moved") from cause
        if move is not None:
            moves.append(move)
    return moves


def _move(folder: Path, path: str, label: str) -> Move | None:
    """Return the move of one row; None if the file lies there already."""
    source = _below(folder, path)
    parts = PurePosixPath(source).parts
    at = 1 if len(parts) > 2 and parts[0].casefold() in PARTS else 0
    if len(parts) < at + 2:
        raise DatasetError(f"'{path}' lies in no label's folder")
    if not stat.S_ISREG(status_below(folder, source).st_mode):
        raise DatasetError(f"'{path}' is no file")
    beside = folder.joinpath(*parts[:at])
    named = [name for name in _folders(beside) if plain(_text(name)) == plain(_text(label))]
    if len(named) != 1:
        there = ", ".join(sorted(_folders(beside)))
        raise DatasetError(f"'{beside}' has no folder for the label '{label}' (it has {there}): make it first")
    if named[0] == parts[at]:
        return None
    target = PurePosixPath(*parts[:at], named[0], *parts[at + 1 :]).as_posix()
    if os.path.lexists(folder / target):
        raise DatasetError(f"'{target}' is there already, and is not replaced: rename one of the two files")
    check_folders(folder, target)
    return Move(source, target)


def _text(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _folders(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if entry.name[0] != "." and entry.is_dir(follow_symlinks=False))


def _below(folder: Path, path: str) -> str:
    """Return a path as it lies below the folder, by its name alone. Raises DatasetError: it lies elsewhere."""
    if "\0" in path:
        raise DatasetError("the path holds a null character")
    root = os.path.abspath(folder)
    whole = os.path.abspath(os.path.join(root, path))
    if whole == root or not Path(whole).is_relative_to(root):
        raise DatasetError(f"'{path}' lies outside '{folder}'")
    return Path(whole).relative_to(root).as_posix()


def check_folders(folder: Path, name: str) -> None:
    """Check that no part of a name below the folder but the last is a link or a file; parts may be missing.

    Raises:
        DatasetError: the name leads out of the folder, or one of its parts is no folder of its own.
    """
    parts = PurePosixPath(name).parts
    if not parts or name != PurePosixPath(*parts).as_posix() or PurePosixPath(name).is_absolute() or ".." in parts:
        raise DatasetError(f"'{name}' is no path below '{folder}'")
    for end in range(1, len(parts)):
        here = folder.joinpath(*parts[:end])
        if os.path.lexists(here) and not stat.S_ISDIR(os.lstat(here).st_mode):
            raise DatasetError(f"'{here}' is a link or a file, not a folder: nothing is moved through it")


def status_below(folder: Path, name: str) -> os.stat_result:
    """Return the status of a file below the folder. Raises DatasetError: it is missing, or behind a link."""
    check_folders(folder, name)
    try:
        return os.lstat(folder / name)
    except OSError as cause:
        raise DatasetError(f"'{name}' is not there ({cause.strerror})") from cause
