"""Labelled images to evaluate on: a folder, a manifest, or an .npz of vectors. They are streamed, never held.

labels/        one subfolder a label; names and labels of all images are held, the images are not
manifest.csv   columns `path` and `label`; also .parquet and .jsonl (core/sources/manifest.py)
vectors.npz    for panels of vectors
answers.csv    for panels of answers: column `image` and others; also .parquet and .jsonl (core/sources/answer_cells.py)
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import ClassVar

import numpy as np

from consilience.core.dataset import images_below, images_by_folder
from consilience.core.errors import DatasetError
from consilience.core.images import ImageSource
from consilience.core.sources.answer_table import AnswerTable, is_answer_table
from consilience.core.sources.answers import AnsweredImage
from consilience.core.sources.manifest import LABEL, PATH, Manifest
from consilience.core.sources.outside_links import OutsideLinks
from consilience.core.sources.stored import openable
from consilience.core.sources.table_file import is_table
from consilience.core.task import Task, plain
from consilience.orchestrator.fitting.ingest import is_vectors
from consilience.orchestrator.grouping.given_groups import MANIFEST
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.grouping.path_pattern import PathPattern
from consilience.retrieval.encoders.encoder import Vectors
from consilience.retrieval.encoders.vector_file import VectorFile

NAMES = 4096
"""Names that a pattern is matched with at a time."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One labelled image, not yet opened.

    Attributes:
        row: its place in the source, from 0.
        name: its path or address; the name of a vector.
        truth: its label, one of the task's.
        vector: float32 (d,) of unit length, or NaN if it cannot be scaled; None where there is an image to load.
        group: the group that the source or a pattern names; None where none does.
        answered: the agents' answers, where there is no image to load.
    """

    row: int
    name: str
    truth: str
    vector: Vectors | None = None
    group: str | None = None
    answered: AnsweredImage | None = None


class Source(ABC):
    """Where labelled images come from.

    Attributes:
        holds_images: whether there are images to look at, not their vectors or answers alone.
        path: the folder or file.
        counts: images by label, as the source writes it.
        fingerprint: changes with the source; of a folder, with the names, sizes and times of its files.
        ignored: files that are no labelled images, and links that lead out of a folder.
    """

    kind: str
    holds_images: ClassVar[bool] = True
    path: Path
    counts: Mapping[str, int]
    fingerprint: str
    ignored: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return sum(self.counts.values())

    @abstractmethod
    def rows(self) -> Iterator[tuple[str, str, Vectors | AnsweredImage | None]]:
        """Yield name, label as the source writes it, and vector or answers if there are such; the order stays."""

    def groups(self, grouping: Grouping) -> Iterator[str | None]:
        """Yield the group of each row, by the pattern that a panel's groups are given by; None where there is none."""
        if grouping.how != "given" or grouping.rule == MANIFEST:
            yield from repeat(None, len(self))
            return
        pattern, names = PathPattern(grouping.rule), (name for name, *_ in self.rows())
        while batch := list(islice(names, NAMES)):
            yield from pattern.groups(batch)


class FolderSource(Source):
    """One subfolder a label; or any images, where labels don't matter."""

    kind = "folder"

    def __init__(self, path: Path, follow_links: bool = False, is_labelled: bool = True) -> None:
        self.path = path
        if is_labelled:
            self._images, self.ignored = images_by_folder(path, follow_links)
        else:
            self._images, self.ignored = _images_anywhere(path, follow_links), ()
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


def _images_anywhere(path: Path, follow_links: bool) -> dict[str, list[Path]]:
    """Return the images at any depth below a folder by its subfolder, those in no subfolder by its own name."""
    images: dict[str, list[Path]] = {}
    for image in images_below(path, OutsideLinks(path, follow_links)):
        first, *inside = image.relative_to(path).parts
        images.setdefault(first if inside else path.absolute().name or "images", []).append(image)
    if not images:
        raise DatasetError(f"the folder '{path}' holds no images; name another")
    return images


class ManifestSource(Source):
    """A table with a row for each image."""

    kind = "manifest"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = Manifest(path)
        self.fingerprint = self.manifest.fingerprint
        self.counts = Counter(row.label for row in self.manifest.rows())
        if not self.counts:
            raise DatasetError(f"the manifest '{path}' is empty; give it a row with {PATH} and {LABEL} for each image")

    def rows(self) -> Iterator[tuple[str, str, Vectors | None]]:
        """Yield path or address, and label, of each row."""
        for row in self.manifest.rows():
            yield self.manifest.full_path(row), row.label, None

    def groups(self, grouping: Grouping) -> Iterator[str | None]:
        """Yield the group that each row names; where it names none, see above."""
        for row, group in zip(self.manifest.rows(), super().groups(grouping), strict=True):
            yield row.group or group


class VectorSource(Source):
    """An .npz of labelled vectors."""

    kind = "vectors"
    holds_images = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = VectorFile(path)
        self.counts = Counter(self.file.labels())
        self.fingerprint = self.file.fingerprint

    def rows(self) -> Iterator[tuple[str, str, Vectors | None]]:
        """Yield name, label and vector of each row."""
        return self.file.rows()

    def groups(self, grouping: Grouping) -> Iterator[str | None]:
        """Yield the group that the file names for each row; where it names none, see above."""
        return self.file.groups() if self.file.has_groups else super().groups(grouping)


class AnsweredSource(Source):
    """A table of agents' answers; images without a truth are left out."""

    kind = "answers"
    holds_images = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = AnswerTable(path)
        self.counts = self.table.truths
        self.fingerprint = self.table.fingerprint
        if not self.counts:
            raise DatasetError(f"{self.table.name}: no image has a truth; give the true label as 'truth'")

    def rows(self) -> Iterator[tuple[str, str, AnsweredImage]]:
        """Yield name, truth and answers of each image."""
        for image in self.table.images():
            if image.truth is not None:
                yield image.name, image.truth, image

    def groups(self, grouping: Grouping) -> Iterator[str | None]:
        """Yield the group that the table names for each image; where it names none, see above."""
        for (*_, image), group in zip(self.rows(), super().groups(grouping), strict=True):
            yield image.group or group


def open_source(path: Path, follow_links: bool = False, is_labelled: bool = True) -> Source:
    """Return the source at `path`, with every label read and no image opened.

    Args:
        path: of a folder or file.
        follow_links: whether links that lead out of a folder are followed.
        is_labelled: whether labels matter; else images of a folder may also lie in no subfolder.

    Raises:
        DatasetError: it cannot be read, or is not such a source; says what to change.
    """
    if is_vectors(path):
        return VectorSource(path)
    if is_answer_table(path):
        return AnsweredSource(path)
    if is_table(path):
        return ManifestSource(path)
    return FolderSource(path, follow_links, is_labelled)


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


def cases(
    source: Source, labels: Mapping[str, str], wanted: np.ndarray, grouping: Grouping = NO_GROUPING
) -> Iterator[SourceImage]:
    """Yield the wanted rows in order; `wanted` is bool (n,), and no row from n on is; `grouping` is the panel's."""
    rows = zip(wanted, source.rows(), source.groups(grouping), strict=False)
    for number, (is_wanted, (name, label, known), group) in enumerate(rows):
        if is_wanted:
            vector = known if isinstance(known, np.ndarray) else None
            answered = known if isinstance(known, AnsweredImage) else None
            yield SourceImage(number, name, labels[label], vector, group, answered)


def waiting_images(source: Source, wanted: np.ndarray) -> list[ImageSource]:
    """Return the images of the wanted rows, as `cases` has them, to be loaded; none where vectors or answers stand."""
    rows = zip(source.rows(), wanted.tolist(), strict=False)
    return [openable(name) for (name, _, known), is_wanted in rows if is_wanted and known is None]


def _status(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere: the loader says so
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
