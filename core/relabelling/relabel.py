"""Move images into the folders of other labels, so that it can be resumed after a kill, and undone: `relabel`.

What is to be moved is written into a journal in the labelled folder first. A file is moved in two steps: its new name
is claimed by an empty file, which fails where anything has that name, and then the file takes that one's place. Killed
in between, the journal tells that the empty file is ours. Nothing is ever replaced or deleted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from consilience.core.errors import DatasetError
from consilience.core.relabelling.moves import Move, check_folders, read_moves
from consilience.core.storage.atomic_write import sync, write_atomically
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.owner_lock import LockHeldError, hold_lock

JOURNAL, LOCK = ".consilience-relabel.json", ".consilience-relabel.lock"
"""In the labelled folder, hidden: the runs that can be undone; and who is moving files now."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of `relabel`: its moves, the folders that it makes, outermost first, and whether it has ended."""

    moves: tuple[Move, ...]
    made: tuple[str, ...]
    ended: bool


def relabel(table: str | Path, folder: str | Path, *, apply: bool = False) -> tuple[Move, ...]:
    """Move images into the folders of other labels, as a table says: all of them, or none if one cannot be moved.

    Args:
        table: see `read_moves`.
        folder: the labelled folder.
        apply: whether files are moved; without it, nothing is touched.

    Returns:
        What is, or would be, moved.

    Raises:
        DatasetError: as `read_moves`; an earlier run was broken off, or another is going on; or the disk refuses, and
            what was moved until then can be resumed or undone.
    """
    root, moves = Path(folder), tuple(read_moves(Path(table), Path(folder)))
    if not apply or not moves:
        return moves
    with _held(root):
        runs = _read(root)
        if runs and not runs[-1].ended:
            raise DatasetError(f"an earlier run in '{root}' was broken off: end it with --resume, or --undo it")
        run = _Run(moves, tuple(_missing_folders(root, moves)), ended=False)
        _write(root, [*runs, run])
        _finish(root, runs, run)
    return moves


def resume_relabel(folder: str | Path) -> tuple[Move, ...]:
    """End a run of `relabel` that was broken off, and return its moves; none if there is nothing to end.

    Raises:
        DatasetError: as `relabel`.
    """
    root = Path(folder)
    with _held(root):
        runs = _read(root)
        if not runs or runs[-1].ended:
            return ()
        _finish(root, runs[:-1], runs[-1])
        return runs[-1].moves


def undo_relabel(folder: str | Path) -> tuple[Move, ...]:
    """Bring the files of the last run of `relabel` back to where they were, and return what was moved back.

    It may be called again until no run is left. A file that was deleted since is passed over.

    Raises:
        DatasetError: there is no run, or another file has an old name now; as `relabel`.
    """
    root = Path(folder)
    with _held(root):
        runs = _read(root)
        if not runs:
            raise DatasetError(f"nothing was moved in '{root}' that could be undone")
        back = [Move(move.target, move.source) for move in reversed(runs[-1].moves)]
        moved = tuple(move for move in back if _bring(root, move))
        for name in reversed(runs[-1].made):
            with suppress(OSError):  # somebody has put files there
                (root / name).rmdir()
        _write(root, runs[:-1])
    return moved


def _finish(root: Path, before: Sequence[_Run], run: _Run) -> None:
    for move in run.moves:
        _bring(root, move)
    _write(root, [*before, _Run(run.moves, run.made, ended=True)])


def _bring(root: Path, move: Move) -> bool:
    """Bring a file from one name to another, whatever an earlier try left; return whether it is at the other now."""
    for name in (move.source, move.target):
        check_folders(root, name)
    source, target = root / move.source, root / move.target
    try:
        is_there, is_taken = os.path.lexists(source), os.path.lexists(target)
        if not is_there:
            return is_taken
        if is_taken and os.lstat(target).st_size:
            if os.lstat(source).st_size:
                raise DatasetError(
                    f"'{target}' is another file, and is not replaced: rename it, then call --resume or --undo"
                )
            source.unlink()  # claimed by a try to move it the other way that was broken off
            return True
        if not is_taken:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.replace(source, target)
        for folder in {source.parent, target.parent}:
            sync(folder)
    except OSError as cause:
        raise DatasetError(
            f"'{source}' cannot be moved to '{target}' ({cause.strerror}): mend that, then call --resume or --undo"
        ) from cause
    return True


def _missing_folders(root: Path, moves: Iterable[Move]) -> Iterator[str]:
    """Yield the folders that the targets need and that are not there, each once, outermost first."""
    seen: set[str] = set()
    for move in moves:
        for above in reversed(PurePosixPath(move.target).parents[:-1]):
            if (name := above.as_posix()) not in seen and not (root / name).exists():
                seen.add(name)
                yield name


@contextmanager
def _held(root: Path) -> Iterator[None]:
    """Keep other processes from moving files in the folder. Raises DatasetError: one does, or it cannot be written."""
    if not root.is_dir():
        raise DatasetError(f"'{root}' is no folder; name the labelled folder whose images were moved")
    try:
        lock = hold_lock(root / LOCK)
    except LockHeldError as cause:
        raise DatasetError(f"{cause.holder} is moving files in '{root}': wait until it has ended") from cause
    except OSError as cause:
        raise DatasetError(f"'{root}' cannot be written ({cause.strerror}): check the path and the disk") from cause
    try:
        yield
    finally:
        with suppress(OSError):  # some systems keep what is open
            (root / LOCK).unlink()
        lock.release()


def _read(root: Path) -> list[_Run]:
    path = root / JOURNAL
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        runs = parsed_json(path.read_bytes())
        return [
            _Run(
                tuple(Move(_name(root, source), _name(root, target)) for source, target in run["moves"]),
                tuple(_name(root, name) for name in run["made"]),
                bool(run["ended"]),
            )
            for run in runs
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, DatasetError) as cause:
        raise DatasetError(f"the journal '{path}' cannot be used ({cause}): remove it to begin a new one") from cause


def _name(root: Path, name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no path")
    check_folders(root, name)
    return name


def _write(root: Path, runs: Sequence[_Run]) -> None:
    entries = [
        {"moves": [[move.source, move.target] for move in run.moves], "made": run.made, "ended": run.ended}
        for run in runs
    ]
    try:
        if runs:  # ASCII: a file name that is no text survives as an escape
            write_atomically(root / JOURNAL, json.dumps(entries), shared=True)
        else:
            (root / JOURNAL).unlink(missing_ok=True)
    except OSError as cause:
        raise DatasetError(f"'{root / JOURNAL}' cannot be written ({cause.strerror}): check the disk") from cause
