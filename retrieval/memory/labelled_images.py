"""The labelled images of a memory: identities, labels, sources, vectors, thumbnails. Every index is made from them."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import ImageMemoryError, PanelDamagedError
from consilience.core.storage.array_file import read_npy
from consilience.core.storage.json_text import parsed_json
from consilience.retrieval.memory.neighbour_distance import Vectors, kth_distances
from consilience.retrieval.memory.thumbnails import ThumbnailArchive, Thumbnails, write_archive

IMAGES, VECTORS, THUMBNAILS = "images.jsonl", "vectors.npy", "thumbnails.zip"

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1: half precision is off by 5e-4."""


@dataclass(frozen=True)
class Conflict:
    """The same image under different labels.

    Attributes:
        id: identity of the image.
        images: each source with its label.
    """

    id: str
    images: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "the same image: " + ", ".join(f"'{source}' ({label.strip()})" for source, label in self.images)


@dataclass(frozen=True)
class AddReport:
    """What became of images that were to be added.

    Attributes:
        added: how many are new.
        skipped: how many were there already, under the same label.
        conflicts: those that were kept out, because their labels contradict each other.
    """

    added: int
    skipped: int
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """An immutable snapshot of labelled images; row i of every part belongs to the same image.

    Attributes:
        ids: identities of the images (hash of their decoded pixels), unique.
        labels: label of each.
        sources: path or address that each came from; it may be gone.
        vectors: embeddings, float32 (n, d), unit length; (n, 0) where no image was looked at.
        thumbnails: where small JPEGs are read from, in order; an image may have none.
        groups: name of the group (the thing shown) that each belongs to; by default each is a group of its own.

    Raises:
        ImageMemoryError: counts that differ, an identity that is empty or given twice, vectors that are not
            finite, not two-dimensional or not of unit length.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    vectors: Vectors
    thumbnails: tuple[Thumbnails, ...] = ()
    groups: tuple[str, ...] = ()
    _distances: dict[int, Vectors] = field(init=False, repr=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        frozen = np.ascontiguousarray(self.vectors, dtype=np.float32).view()
        frozen.flags.writeable = False
        object.__setattr__(self, "vectors", frozen)
        object.__setattr__(self, "groups", self.groups or self.ids)
        problem = _problem_of_names(self.ids) or _problem_of_vectors(frozen, len(self.ids))
        counts = {len(self.ids), len(self.labels), len(self.sources), len(self.groups)}
        if problem is None and len(counts) > 1:
            problem = f"{len(self.ids)} identities, but labels, sources or groups of {sorted(counts)} images"
        if problem is not None:
            raise ImageMemoryError(f"these images cannot be remembered: {problem}")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """The row of each image, by identity."""
        return {identity: row for row, identity in enumerate(self.ids)}

    @cached_property
    def group_numbers(self) -> NDArray[np.intp]:
        """The number of each image's group, int (n,), from 0 on, in the order of the groups' names."""
        number_of = {name: number for number, name in enumerate(sorted(set(self.groups)))}
        return np.array([number_of[name] for name in self.groups], dtype=np.intp)

    def thumbnail(self, identity: str) -> bytes | None:
        """Return a small JPEG of one image, None if none was kept. Safe from many threads.

        Raises:
            PanelDamagedError: the archive of thumbnails cannot be read.
        """
        for source in self.thumbnails:
            if (picture := source.get(identity)) is not None:
                return picture
        return None

    def kth_distances(self, k: int) -> Vectors:
        """Return the distance of each image to its own k-th neighbour, ascending: float32 (n,), in [0, 2].

        They are computed once for each k, and saved with the images; see `neighbour_distance.kth_distances`.
        """
        with self._lock:
            if k not in self._distances:
                self._distances[k] = kth_distances(self.vectors, k)
            return self._distances[k]

    def with_added(
        self,
        ids: Sequence[str],
        labels: Sequence[str],
        sources: Sequence[str],
        vectors: Vectors,
        thumbnails: Mapping[str, bytes] | None = None,
        groups: Sequence[str] | None = None,
    ) -> tuple[LabelledImages, AddReport]:
        """Return these labelled images with new ones added, and what became of the new ones.

        Adding the same again changes nothing.

        An image that is there under the same label is skipped. One that is there under another label is kept out and
        named in the report, the old one stays; one that is new under two labels is kept out altogether.

        Args:
            ids, labels, sources: of the m new images.
            vectors: float32 (m, d) of unit length.
            thumbnails: JPEGs by identity, of any of them.
            groups: of the m new images; None: each is a group of its own.

        Raises:
            ImageMemoryError: the vectors have another length than those here, or are not of unit length.
        """
        new_labels = defaultdict(set)
        for identity, label in zip(ids, labels, strict=True):
            new_labels[identity].add(label)
        conflicts: dict[str, list[tuple[str, str]]] = {}
        fresh: dict[str, int] = {}
        for row, (identity, label) in enumerate(zip(ids, labels, strict=True)):
            known = self.rows.get(identity)
            if known is None and len(new_labels[identity]) == 1:
                fresh.setdefault(identity, row)
            elif known is None:
                conflicts.setdefault(identity, []).append((sources[row], label))
            elif self.labels[known] != label:
                images = conflicts.setdefault(identity, [(self.sources[known], self.labels[known])])
                images.append((sources[row], label))
        kept_out = tuple(Conflict(identity, tuple(images)) for identity, images in conflicts.items())
        contradicting = sum(len(image.images) - (image.id in self.rows) for image in kept_out)
        report = AddReport(len(fresh), len(ids) - len(fresh) - contradicting, kept_out)
        if not fresh:
            return self, report
        chosen = list(fresh.values())
        added = np.asarray(vectors, dtype=np.float32)[chosen]
        if added.shape[1:] != self.vectors.shape[1:]:
            raise ImageMemoryError(
                f"the new vectors have {added.shape[1:]} numbers, those of the memory {self.vectors.shape[1:]}: "
                "use the encoder that the memory was written with"
            )
        grown = LabelledImages(
            (*self.ids, *fresh),
            (*self.labels, *(labels[row] for row in chosen)),
            (*self.sources, *(sources[row] for row in chosen)),
            np.concatenate([self.vectors, added]),
            (*self.thumbnails, dict(thumbnails)) if thumbnails else self.thumbnails,
            (*self.groups, *(fresh if groups is None else (groups[row] for row in chosen))),
        )
        return grown, report

    def without(self, ids: Collection[str] = (), sources: Collection[str] = ()) -> LabelledImages:
        """Return the labelled images without those of these identities or sources; unknown names are ignored."""
        gone_ids, gone_sources = set(ids), set(sources)
        kept = [
            row
            for row, (identity, source) in enumerate(zip(self.ids, self.sources, strict=True))
            if identity not in gone_ids and source not in gone_sources
        ]
        return replace(
            self,
            ids=tuple(self.ids[row] for row in kept),
            labels=tuple(self.labels[row] for row in kept),
            sources=tuple(self.sources[row] for row in kept),
            vectors=self.vectors[kept],
            groups=tuple(self.groups[row] for row in kept),
        )

    def save(self, folder: Path) -> None:
        """Write `images.jsonl`, `vectors.npy`, `thumbnails.zip` (if there are any) and the k-th distances known so far.

        Args:
            folder: an empty folder, made if it is missing.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / IMAGES).open("wb") as file:
            for identity, label, source, group in zip(self.ids, self.labels, self.sources, self.groups, strict=True):
                image = {"id": identity, "label": label, "source": source, "group": group}
                line = json.dumps(image, ensure_ascii=False)
                # A file name that is not Unicode holds lone surrogates: as JSON escapes they survive UTF-8.
                file.write(line.encode("utf-8", "backslashreplace") + b"\n")
        np.save(folder / VECTORS, self.vectors, allow_pickle=False)
        if self.thumbnails:
            write_archive(folder / THUMBNAILS, self._pictures())
        for k, distances in self._distances.items():
            np.save(folder / f"distances-{k}.npy", distances, allow_pickle=False)

    def _pictures(self) -> Iterator[tuple[str, bytes]]:
        for identity in self.ids:
            if (picture := self.thumbnail(identity)) is not None:
                yield identity, picture

    @classmethod
    def open(cls, folder: Path) -> LabelledImages:
        """Return the labelled images that `save` wrote.

        Raises:
            PanelDamagedError: a file is missing, cannot be read or does not fit the others; the message names the file.
        """
        images = _read_images(folder / IMAGES)
        vectors = _read_array(folder / VECTORS)
        if problem := _problem_of_vectors(vectors, len(images)):
            raise PanelDamagedError(f"'{folder / VECTORS}' is damaged: {problem}")
        archive = folder / THUMBNAILS
        ids, labels, sources, groups = map(tuple, zip(*images, strict=True)) if images else ((), (), (), ())
        thumbnails = (ThumbnailArchive(archive),) if archive.exists() else ()
        labelled_images = cls(ids, labels, sources, vectors, thumbnails, groups)
        for path in folder.glob("distances-*.npy"):
            distances = _read_array(path)
            if distances.shape != (len(images),) or not np.all(np.diff(distances) >= 0):
                raise PanelDamagedError(f"'{path}' is damaged: it must hold {len(images)} ascending numbers")
            labelled_images._distances[int(path.stem.removeprefix("distances-"))] = distances
        return labelled_images


def _problem_of_names(ids: Sequence[str]) -> str | None:
    if "" in ids:
        return "an identity is empty"
    if len(set(ids)) != len(ids):
        return f"the identity '{Counter(ids).most_common(1)[0][0]}' is given more than once"
    return None


def _problem_of_vectors(vectors: Vectors, count: int) -> str | None:
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        return f"vectors are {vectors.dtype} {vectors.shape}, not float32 (n, d)"
    if len(vectors) != count:
        return f"{len(vectors)} vectors for {count} images"
    if not vectors.shape[1]:
        return None
    lengths = np.einsum("nd,nd->n", vectors, vectors) ** 0.5
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))  # true for NaN and infinities too
    return f"vector {wrong[0]} has length {lengths[wrong[0]]:.6g}, not 1" if len(wrong) else None


def _read_images(path: Path) -> list[tuple[str, str, str, str]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as cause:
        raise PanelDamagedError(f"'{path}' cannot be read: {cause.strerror}") from cause
    if lines.pop() != b"":
        raise PanelDamagedError(f"'{path}' is damaged: it ends in the middle of a line")
    names = []
    for number, line in enumerate(lines, 1):
        try:
            image = parsed_json(line)
            name = (image["id"], image["label"], image["source"], image["group"])
        except (ValueError, KeyError, TypeError) as cause:
            raise PanelDamagedError(f"'{path}', line {number} is damaged: {cause!r}") from cause
        if not all(isinstance(part, str) for part in name):
            raise PanelDamagedError(f"'{path}', line {number} is damaged: id, label, source and group must be strings")
        names.append(name)
    if problem := _problem_of_names([identity for identity, *_ in names]):
        raise PanelDamagedError(f"'{path}' is damaged: {problem}")
    return names


def _read_array(path: Path) -> Vectors:
    try:
        array: Vectors = read_npy(path)
    except OSError as cause:
        raise PanelDamagedError(f"'{path}' cannot be read: {cause.strerror}") from cause
    except ValueError as cause:
        raise PanelDamagedError(f"'{path}' is damaged: {cause}") from cause
    return array
