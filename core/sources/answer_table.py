"""A table of what agents answered, read image by image in flat memory.

Rows of one image may stand anywhere in the table, so all are checked and sorted first, in a temporary file (SQLite's,
which goes with the connection). So nothing is decided on a table that has an error further down.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from consilience.core.errors import DatasetError
from consilience.core.prediction import Stage
from consilience.core.sources.answer_cells import GROUP, IMAGE, TRUTH, AnswerCells, UnfitCell, answer_cells, text_of
from consilience.core.sources.answers import Answer, AnsweredImage, AnswerSource
from consilience.core.sources.table_file import TableFile, is_table
from consilience.core.task import plain

ROWS = 4096
"""Rows that are put into the temporary file at a time."""

_SCHEMA = """
PRAGMA synchronous = OFF;
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -32768;
CREATE TABLE answers(
    image TEXT, row INTEGER, look INTEGER, truth INTEGER, thing TEXT, label TEXT, confidence REAL, labels INTEGER,
    shares BLOB);
"""
_SORTED = """
CREATE INDEX by_image ON answers(image, look, row);
CREATE TABLE images AS
    SELECT image, MIN(row) AS first, MAX(truth) AS truth, MIN(truth) AS truth_too, MAX(thing) AS thing,
    MIN(thing) AS thing_too FROM answers GROUP BY image ORDER BY first;
"""
_TWICE = """
SELECT image, look, MIN(row), MAX(row) FROM answers GROUP BY image, look HAVING COUNT(*) > 1 ORDER BY MAX(row) LIMIT 1
"""
_CONTRADICTED = {
    "truth": """
SELECT image, truth, MIN(row) FROM answers WHERE truth IS NOT NULL AND image =
    (SELECT image FROM images WHERE truth <> truth_too ORDER BY first LIMIT 1) GROUP BY truth ORDER BY MIN(row) LIMIT 2
""",
    "group": """
SELECT image, thing, MIN(row) FROM answers WHERE thing IS NOT NULL AND image =
    (SELECT image FROM images WHERE thing <> thing_too ORDER BY first LIMIT 1) GROUP BY thing ORDER BY MIN(row) LIMIT 2
""",
}
_NAMED = """
SELECT row, truth, thing, look, label, confidence, labels, shares FROM answers WHERE image = ? ORDER BY look
"""
_IN_ORDER = """
SELECT images.image, images.first, images.truth, images.thing, look, label, confidence, labels, shares
FROM images CROSS JOIN answers ON answers.image = images.image ORDER BY images.rowid, look
"""


def is_answer_table(path: Path) -> bool:
    """Return whether a file is a table of answers, and not a manifest of images: it has a column `image`.

    Raises:
        DatasetError: it is named like a table, and cannot be read.
    """
    if not is_table(path):
        return False
    columns = TableFile(path, "the table").columns()
    return IMAGE in columns and "path" not in columns


class AnswerTable(AnswerSource):
    """A table of answers (`answer_cells`), long or wide, from a file or from rows. A context manager.

    Args:
        source: a .csv, .parquet or .jsonl file; or rows, each a mapping from column to value.

    Attributes:
        fingerprint: SHA-256 of the file; empty for rows.

    Raises:
        DatasetError: it cannot be used: names the row and what to correct.
    """

    def __init__(self, source: str | Path | Iterable[Mapping[str, Any]]) -> None:
        self._looks: dict[tuple[str, Stage], int] = {}
        self._numbers: dict[tuple[str, ...], int] = {}
        self._truths: dict[str, tuple[int, str]] = {}
        if isinstance(source, str | Path):
            table = TableFile(Path(source), "the answers")
            self.name, self.fingerprint = table.name, table.fingerprint()
            rows: Iterable[Mapping[str, Any]] = table.rows()
        else:
            self.name, self.fingerprint, rows = "the answers", "", source
        self._file = sqlite3.connect("", check_same_thread=False, isolation_level=None)  # '': temporary, on disk
        self._close = weakref.finalize(self, self._file.close)
        try:
            self._fill(rows)
            self._named_looks = [*self._looks]
            self._spellings: dict[int | None, str | None] = {None: None} | dict(self._truths.values())
            self._check()
        except sqlite3.Error as cause:
            self.close()
            raise DatasetError(f"{self.name} cannot be sorted in the folder of temporary files ({cause})") from cause
        except BaseException:
            self.close()
            raise
        self.agents = [agent for agent, stage in self._named_looks if stage == "first"]
        self.revising = [agent for agent, stage in self._named_looks if stage == "second"]
        self.label_sets = [*self._numbers]
        self._len, counts = self._counts()
        self.truths = {spelling: counts.get(number, 0) for number, spelling in self._truths.values()}

    def __len__(self) -> int:
        return self._len

    def images(self) -> Iterator[AnsweredImage]:
        """Yield the images in the order in which they first stand; memory does not grow with their number."""
        with closing(self._file.execute(_IN_ORDER)) as rows:
            for (name, first, truth, thing), group in groupby(rows, lambda row: row[:4]):
                yield AnsweredImage(name, self._answers(group), self._spellings[truth], thing, first)

    def names(self) -> Iterator[str]:
        """Yield the images' names, in the same order."""
        with closing(self._file.execute("SELECT image FROM images ORDER BY rowid")) as rows:
            for (name,) in rows:
                yield name

    def find(self, name: str) -> AnsweredImage | None:
        """Return the image of this name; None if there is none."""
        rows = self._file.execute(_NAMED, (name,)).fetchall()
        if not rows:
            return None
        truth, thing = (next((row[column] for row in rows if row[column] is not None), None) for column in (1, 2))
        return AnsweredImage(name, self._answers(rows), self._spellings[truth], thing, min(row[0] for row in rows))

    def _answers(self, rows: Iterable[Sequence[Any]]) -> tuple[Answer, ...]:
        """Return the answers in the rows of one image, which end with look, label, confidence, labels and shares."""
        answers = []
        for *_, look, label, confidence, labels, shares in rows:
            agent, stage = self._named_looks[look]
            answers.append(Answer(agent, stage, label, confidence, _shares(self.label_sets, labels, shares)))
        return tuple(answers)

    def close(self) -> None:
        """Let go of the temporary file. A second call does nothing."""
        self._close()

    def __enter__(self) -> AnswerTable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def refusal(self, row: int, problem: str, remedy: str = "correct the row") -> DatasetError:
        """Return the error that a row, counted from 1, cannot be used."""
        return DatasetError(f"{self.name}, row {row}: {problem}; {remedy}")

    def _fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._file.executescript(_SCHEMA)
        waiting: list[tuple[Any, ...]] = []
        columns: tuple[str, ...] | None = None
        looks: list[AnswerCells] = []
        number = 0
        for number, cells in enumerate(rows, 1):
            try:
                if tuple(cells) != columns:
                    columns = tuple(cells)
                    looks = answer_cells(columns)
                waiting += self._records(number, cells, looks)
            except UnfitCell as cause:
                raise self.refusal(number, str(cause)) from cause
            if len(waiting) >= ROWS:
                self._write(waiting)
        if not number:
            raise DatasetError(f"{self.name} hold no rows; give a row for each image and agent")
        self._write(waiting)

    def _write(self, waiting: list[tuple[Any, ...]]) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", waiting)
        self._file.execute("COMMIT")
        waiting.clear()

    def _records(
        self, number: int, cells: Mapping[str, Any], looks: Sequence[AnswerCells]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield a record for each answer in a row."""
        image, truth, thing = text_of(cells, IMAGE), text_of(cells, TRUTH), text_of(cells, GROUP)
        if not image:
            raise UnfitCell(f"'{IMAGE}' is empty")
        label = self._truths.setdefault(plain(truth), (len(self._truths), truth))[0] if truth else None
        for columns in looks:
            answer = columns.answer(cells)
            look = self._looks.setdefault((answer.agent, answer.stage), len(self._looks))
            labels, shares = None, None
            if answer.shares is not None:
                labels = self._numbers.setdefault(tuple(answer.shares), len(self._numbers))
                shares = np.fromiter(answer.shares.values(), np.float64).tobytes()
            yield image, number, look, label, thing or None, answer.label, answer.confidence, labels, shares

    def _check(self) -> None:
        """Sort the answers by image, and check that they do not contradict each other."""
        self._file.executescript(_SORTED)
        if twice := self._file.execute(_TWICE).fetchone():
            image, look, first, last = twice
            agent, stage = self._named_looks[look]
            again = " a second look of" if stage == "second" else ""
            raise self.refusal(
                last, f"'{image}' has an answer of{again} '{agent}' already, in row {first}", "leave one of them out"
            )
        for what, query in _CONTRADICTED.items():
            if differing := self._file.execute(query).fetchall():
                (image, was, first), (_, now, last) = differing
                was, now = (self._spellings.get(value, value) for value in (was, now))
                raise self.refusal(last, f"the {what} of '{image}' is '{now}', and '{was}' in row {first}")
        revised = (agent for agent, stage in self._looks if stage == "second")
        if lonely := [agent for agent in revised if (agent, "first") not in self._looks]:
            raise DatasetError(
                f"{self.name}: '{lonely[0]}' has revised answers and no first ones; give those, or call them first"
            )

    def _counts(self) -> tuple[int, dict[int, int]]:
        """Return the number of images, and of those of each true label."""
        rows = self._file.execute("SELECT truth, COUNT(*) FROM images GROUP BY truth").fetchall()
        return sum(count for _, count in rows), dict(rows)


def _shares(label_sets: Sequence[tuple[str, ...]], labels: int | None, shares: bytes | None) -> dict[str, float] | None:
    if labels is None or shares is None:
        return None
    return dict(zip(label_sets[labels], np.frombuffer(shares, np.float64).tolist(), strict=True))
