"""The folder of an evaluation while it runs: what it is, which images are decided, and one who writes.

run.json           what the run is; another run does not go on in this folder
predictions.jsonl  a row an image, see rows.py; whatever a killed writer left half-written is cut off
run.lock           held by the process that writes
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilience.core.errors import EvaluationError
from consilience.core.storage.atomic_write import partial_file, write_atomically
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.owner_lock import LockHeldError, hold_lock
from consilience.evals.rows import ROWS_FILE, Decided, read_rows

RUN, LOCK = "run.json", "run.lock"


@dataclass
class Tally:
    """Where an evaluation stands.

    Attributes:
        total: images to decide. done: those decided, `errors` and `left_out` included.
        answered: images with a diagnosis. right: those whose label is the true one.
        errors: images that could not be used. left_out: images that the panel has learned from, dropped.
        leaks: images that the panel has learned from, dropped or not.
        cost_usd: what the agents' answers cost.
    """

    total: int
    done: int = 0
    answered: int = 0
    right: int = 0
    errors: int = 0
    left_out: int = 0
    leaks: int = 0
    cost_usd: float = 0.0


class RunLog:
    """An open folder; `open_run_log` makes it."""

    def __init__(self, out: Path, labels: Sequence[str], rows: np.ndarray, drop_leaks: bool) -> None:
        self.out = out
        self.tally = Tally(len(rows))
        self.waiting = np.zeros(int(rows.max(initial=-1)) + 1, dtype=bool)
        self.waiting[rows] = True
        self._drops_leaks = drop_leaks
        _cut_off_half_a_line(out / ROWS_FILE)
        self._restore(labels)
        self._file = (out / ROWS_FILE).open("ab", buffering=0)

    def append(self, batch: Sequence[Decided], seconds: float) -> None:
        """Write the rows of a batch, which took so long, in one go."""
        share = b',"seconds":%.6f}\n' % (seconds / max(len(batch), 1))
        data = memoryview(b"".join(row.data[:-1] + share for row in batch))
        while data:  # a disk that fills up takes a part
            data = data[self._file.write(data) :]
        for row in batch:
            dropped = row.leak and self._drops_leaks
            self._count(row.right, row.leak, dropped, row.cost_usd)

    def close(self) -> None:
        """Close the file of rows."""
        self._file.close()

    def _count(self, right: bool | None, leak: bool, dropped: bool, cost_usd: float) -> None:
        tally = self.tally
        tally.done += 1
        tally.answered += right is not None
        tally.right += bool(right)
        tally.errors += right is None and not dropped
        tally.left_out += dropped
        tally.leaks += leak
        tally.cost_usd += cost_usd

    def _restore(self, labels: Sequence[str]) -> None:
        """Which rows are there, and the tally of them."""
        for batch in read_rows(self.out, labels, ("row", "truth", "label", "leak", "cost_usd")):
            rows, truths, names, leaks, costs = (column.to_pylist() for column in batch.columns)
            for row, truth, name, leak, cost in zip(rows, truths, names, leaks, costs, strict=True):
                if not 0 <= row < len(self.waiting) or not self.waiting[row]:
                    raise EvaluationError(
                        f"'{self.out / ROWS_FILE}' holds row {row} twice, or a row that this run does not have; it was "
                        "changed: put it back from a copy, or name another folder"
                    )
                self.waiting[row] = False
                self._count(None if name is None else name == truth, leak, leak and self._drops_leaks, cost)


@contextmanager
def open_run_log(
    out: Path, run: Mapping[str, Any], labels: Sequence[str], rows: np.ndarray, *, drop_leaks: bool
) -> Iterator[RunLog]:
    """Begin the run in `out`, or go on with it.

    Args:
        run: what the run is, as JSON can hold it.
        rows: the rows of the source that are to be decided, int (n,).

    Raises:
        EvaluationError: `out` holds another run (what differs is named) or something else, another process writes it,
            or it cannot be written.
    """
    with ExitStack() as stack:
        with written_to(out):
            out.mkdir(parents=True, exist_ok=True)
            try:
                lock = hold_lock(out / LOCK)
            except LockHeldError as cause:
                raise EvaluationError(
                    f"the evaluation in '{out}' is being written by {cause.holder}: wait for it, or name another folder"
                ) from cause
            stack.callback(lock.release)
            _begin(out, run)
            run_log = RunLog(out, labels, rows, drop_leaks)
            stack.callback(run_log.close)
        yield run_log


@contextmanager
def written_to(out: Path) -> Iterator[None]:
    """Raise EvaluationError, with what to do, for an OSError while `out` is written."""
    try:
        yield
    except OSError as cause:
        is_full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = (
            "make room on the disk, then run the same again: it goes on where it was" if is_full else "check the path"
        )
        raise EvaluationError(f"the evaluation in '{out}' cannot be written ({cause}): {remedy}") from cause


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write it whole or not at all."""
    write_atomically(path, json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def _begin(out: Path, run: Mapping[str, Any]) -> None:
    path = out / RUN
    if not path.exists():
        if others := sorted(set(os.listdir(out)) - {LOCK, partial_file(path).name}):
            raise EvaluationError(
                f"the folder '{out}' holds '{others[0]}' and no evaluation: name an empty or a new one"
            )
        write_json(path, run)
        return
    try:
        there = parsed_json(path.read_bytes())
    except ValueError as cause:
        raise EvaluationError(f"'{path}' was damaged ({cause}): name another folder") from cause
    if differences := list(_differences(there, json.loads(json.dumps(run)))):
        raise EvaluationError(f"'{out}' holds another run: {'; '.join(differences)}. Name another folder with --out")


MAY_DIFFER = re.compile(r"source\.path|settings\.(policy\.(max_run_cost|confirm_above)_usd|replies\..*)")
"""What changes no row: how the source is called, and what a run may spend before it stops and somebody goes on."""


def _differences(was: Any, now: Any, name: str = "") -> Iterator[str]:
    """Return what is not the same, by its path."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*was, *now]):
            yield from _differences(was.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif was != now and not MAY_DIFFER.fullmatch(name):
        yield f"{name} was {json.dumps(was, ensure_ascii=False)} and is {json.dumps(now, ensure_ascii=False)}"


def _cut_off_half_a_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        whole = end
        while whole > 0:
            start = max(whole - 2**16, 0)
            file.seek(start)
            if (newline := file.read(whole - start).rfind(b"\n")) >= 0:
                whole = start + newline + 1
                break
            whole = start
        if whole < end:
            file.truncate(whole)
