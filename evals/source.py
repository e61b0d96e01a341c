"""Labelled images to evaluate on: a folder, a manifest, or an .npz of vectors. They are streamed, never held.

labels/        one subfolder a label; names and labels of all images are held, the images are not
manifest.csv   columns `path` and `label`; also .parquet; a path is relative to the manifest's folder, or an address:
               http(s), or one of a store (stored.py)
vectors.npz    for panels of vectors
"""

from __future__ import annotations

import csv
import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.core.dataset import images_by_folder
from consilience.core.errors import DatasetError
from consilience.core.task import Task, plain
from consilience.evals.stored import check_address
from consilience.orchestrator.fitting.ingest import is_vectors
from consilience.retrieval.encoders.encoder import Vectors
from consilience.retrieval.encoders.vector_file import VectorFile

PATH, LABEL = "path", "label"

MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One labelled image, not yet opened.

    Attributes:
        row: its place in the source, from 0.
        name: its path or address; the name of a vector.
        truth: its label, one of the task's.
        vector: float32 (d,) of unit length, or NaN if it cannot be scaled; None where there is an image to load.
    """

    row: int
    name: str
    truth: str
    vector: Vectors | None = None


class Source(ABC):
    """Where labelled images come from.

    Attributes:
        path: the folder or file.
        counts: images by label, as the source writes it.
        fingerprint: changes with the source; of a folder, with the names, sizes and times of its files.
        ignored: files that are no labelled images.
    """

    kind: str
    path: Path
    counts: Mapping[str, int]
    fingerprint: str
    ignored: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return sum(self.counts.values())

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, str, Vectors | None]]:
        """Yield name, label as the source writes it, and vector if there is one, in an order that stays."""


class FolderSource(Source):
    """One subfolder a label."""

    kind = "folder"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images, self.ignored = images_by_folder(path)
        self.counts = {label: len(paths) for label, paths in self._images.items() if paths}
        digest = hashlib.sha256()
        for label, paths in self._images.items():
            for image in paths:
                status = _status(image)
                digest.update(os.fsencode(f"{label}\0{image.relative_to(path)}\0{status}\n"))
        self.fingerprint = digest.hexdigest()

    def rows(self) -> Iterator[tuple[str, str, Vectors | None]]:
        """Yield absolute path and label of each image."""
        for label, paths in self._images.items():
            for path in paths:
                yield os.path.abspath(path), label, None


class ManifestSource(Source):
    """A table with a row for each image."""

    kind = "manifest"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as cause:
            raise DatasetError(f"the manifest '{path}' cannot be read: {cause.strerror}") from cause
        self.counts = Counter(label for _, label in self._cells())
        if not self.counts:
            raise DatasetError(f"the manifest '{path}' is empty; give it a row with {PATH} and {LABEL} for each image")

    def rows(self) -> Iterator[tuple[str, str, Vectors | None]]:
        """Yield path or address, and label, of each row."""
        folder = os.path.abspath(self.path.parent)
        for path, label in self._cells():
            yield path if "://" in path else os.path.join(folder, path), label, None

    def _cells(self) -> Iterator[tuple[str, str]]:
        read = self._csv if self.path.suffix.lower() == ".csv" else self._parquet
        for number, (path, label) in enumerate(read(), 1):
            for name, cell in ((PATH, path), (LABEL, label)):
                if not isinstance(cell, str) or not cell.strip():
                    problem = "is empty" if cell is None or isinstance(cell, str) else f"is {cell!r}, not text"
                    raise DatasetError(f"the manifest '{self.path}', row {number}: '{name}' {problem}; correct the row")
            try:
                check_address(path)
            except DatasetError as cause:
                raise DatasetError(f"the manifest '{self.path}', row {number}: {cause}") from cause
            yield path, label.strip()

    def _csv(self) -> Iterator[tuple[str, str]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.reader(file, strict=True)
                columns = next(table, [])
                self._check_columns(columns)
                places = columns.index(PATH), columns.index(LABEL)
                for row in filter(None, table):
                    if len(row) != len(columns):
                        raise DatasetError(
                            f"the manifest '{self.path}', line {table.line_num}: {len(row)} cells for {len(columns)} "
                            "columns; correct the line, or put cells with commas in quotes"
                        )
                    yield row[places[0]], row[places[1]]
        except (UnicodeDecodeError, csv.Error) as cause:
            raise DatasetError(f"the manifest '{self.path}' is not a CSV file in UTF-8 ({cause})") from cause

    def _parquet(self) -> Iterator[tuple[str, str]]:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                self._check_columns(file.schema_arrow.names)
                for name in (PATH, LABEL):
                    kind = file.schema_arrow.field(name).type
                    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
                    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                        raise DatasetError(f"the manifest '{self.path}': the column '{name}' holds {kind}, not text")
                for batch in file.iter_batches(columns=[PATH, LABEL]):
                    yield from zip(batch.column(PATH).to_pylist(), batch.column(LABEL).to_pylist(), strict=True)
        except pyarrow.ArrowException as cause:
            raise DatasetError(f"the manifest '{self.path}' is not a Parquet file ({cause})") from cause

    def _check_columns(self, columns: list[str]) -> None:
        for name in (PATH, LABEL):
            if columns.count(name) != 1:
                problem = "has no column" if name not in columns else "has more than one column"
                listed = ", ".join(columns) or "none"
                raise DatasetError(f"the manifest '{self.path}' {problem} '{name}' (its columns: {listed})")


class VectorSource(Source):
    """An .npz of labelled vectors."""

    kind = "vectors"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = VectorFile(path)
        self.counts = Counter(self.file.labels())
        self.fingerprint = self.file.fingerprint

    def rows(self) -> Iterator[tuple[str, str, Vectors | None]]:
        """Yield name, label and vector of each row."""
        return self.file.rows()


def open_source(path: Path) -> Source:
    """Return the source at `path`, with every label read and no image opened.

    Raises:
        DatasetError: it cannot be read, or is not such a source; says what to change.
    """
    if is_vectors(path):
        return VectorSource(path)
    if path.suffix.lower() in MANIFESTS and not os.path.isdir(path):
        return ManifestSource(path)
    return FolderSource(path)


def labels_of(source: Source, task: Task, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the task's label for each label that the source writes.

    Args:
        renamed: by a label of the source, the label or synonym of the task that it stands for.

    Raises:
        DatasetError: labels that the task does not know, all of them named; a renamed label that nothing has, or
            that is to stand for none of the task.
    """
    chosen = {plain(old): new for old, new in renamed.items()}
    if unused := [old for old in renamed if plain(old) not in map(plain, source.counts)]:
        raise DatasetError(
            f"nothing in '{source.path}' is labelled {_quoted(unused)}; its labels: {_quoted(source.counts)}"
        )
    if strange := [new for new in renamed.values() if task.find(new) is None]:
        raise DatasetError(f"the task has no label {_quoted(strange)} to map to; it has {', '.join(task.names)}")
    known = {label: task.find(chosen.get(plain(label), label)) for label in source.counts}
    if unknown := [label for label, name in known.items() if name is None]:
        raise DatasetError(
            f"'{source.path}' has labels that the task does not know: {_quoted(unknown)}; it knows "
            f"{', '.join(task.names)}. Say what they mean (--map '{unknown[0]}=...'), or leave them out"
        )
    return {label: name for label, name in known.items() if name is not None}


def chosen_rows(images: int, sample: int | None, limit: int | None, seed: int) -> np.ndarray:
    """Return the rows to evaluate, ascending int (n,): a random `sample` of them, of these the first `limit`."""
    rows = np.arange(images)
    if sample is not None and sample < images:
        rows = np.sort(np.random.default_rng(seed).choice(images, sample, replace=False))
    return rows[:limit]


def cases(source: Source, labels: Mapping[str, str], wanted: np.ndarray) -> Iterator[SourceImage]:
    """Yield the wanted rows in order; `wanted` is bool (n,), and no row from n on is."""
    for row, (is_wanted, (name, label, vector)) in enumerate(zip(wanted, source.rows(), strict=False)):
        if is_wanted:
            yield SourceImage(row, name, labels[label], vector)


def _status(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere: the loader says so
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
