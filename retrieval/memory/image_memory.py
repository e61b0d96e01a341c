"""The image memory: it finds the labelled images most similar to an image, and makes evidence of them.

The labelled images are the truth; the index is derived from them and may lag behind. A small memory is compared as a
whole. For a larger one, a long-running reader owns the embedded Chroma store while another process writes new ones:
the writer does not touch the index, the reader goes on with the labelled images that it opened, and whoever owns the
store next brings it up to date. Who cannot own it searches the labelled images exactly and misses nothing. Two
writers at once are refused (`writer_lock`). A damaged store is never searched and never thrown away unasked: `check`
says what is wrong, `repair` builds it anew. A server is brought up to date by each reader.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import ImageMemoryError, PanelBusyError, PanelError
from consilience.core.storage.owner_lock import LockHeldError, hold_lock
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.chroma_index import ChromaIndex, collection_name
from consilience.retrieval.memory.embedded_index import EmbeddedIndex
from consilience.retrieval.memory.index import CheckReport, Index, Rows
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import Vectors, rank_of_distance

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The k nearest images of the memory to each of m images, most similar first.

    Attributes:
        rows: their rows in the labelled images, int (m, k).
        similarities: cosine similarity, float32 (m, k), in [-1, 1].
        labels: their labels as places in the task's order, int (m, k).
    """

    rows: Rows
    similarities: Vectors
    labels: Rows

    def first(self, k: int) -> Neighbourhood:
        """Return the neighbourhood of only the k most similar."""
        return Neighbourhood(self.rows[:, :k], self.similarities[:, :k], self.labels[:, :k])


class ImageMemory:
    """Labelled images, searched by similarity. Safe from many threads; a context manager.

    Attributes:
        labelled_images: the images.
        labels: the task's labels in its order.
    """

    def __init__(self, labelled_images: LabelledImages, labels: Sequence[str], index: Index) -> None:
        """Make a memory that searches through `index`, and closes it at the end.

        Raises:
            ImageMemoryError: an image has a label that the task does not know.
        """
        if foreign := sorted(set(labelled_images.labels) - set(labels)):
            raise ImageMemoryError(f"the memory holds labels that the task lacks: {', '.join(map(repr, foreign))}")
        self.labelled_images = labelled_images
        self.labels = tuple(labels)
        place = {label: number for number, label in enumerate(self.labels)}
        self._label_of_row = np.array([place[label] for label in labelled_images.labels], np.intp)
        self._index = index
        self._close = weakref.finalize(self, _close_where_opened, index, os.getpid())

    @classmethod
    def open(
        cls,
        labelled_images: LabelledImages,
        labels: Sequence[str],
        *,
        store: Path,
        fingerprint: str,
        panel: str,
        url: str | None = None,
    ) -> ImageMemory:
        """Return a memory with the best index at hand, brought up to date.

        Args:
            labelled_images: the images.
            labels: the task's labels in its order.
            store: folder of the embedded index, made if it is missing; beside it stand its lock and its seal.
            fingerprint: of the encoder that made the vectors.
            panel: the panel's own id: a server keeps one collection for each panel and encoder.
            url: `http(s)://host:port` of a Chroma server, instead of the embedded index.

        Raises:
            MemoryServerError: the server cannot be reached.
            SettingsError: `url` is not such an address.
            ImageMemoryError: an image has a label that the task does not know.
        """
        name = collection_name(panel, fingerprint)
        if url is None:
            return cls(labelled_images, labels, EmbeddedIndex(labelled_images, store, name, fingerprint))
        index = ChromaIndex(labelled_images, ChromaConnection.server(url), name, fingerprint)
        try:
            index.sync()
            return cls(labelled_images, labels, index)
        except BaseException:
            index.close()
            raise

    @property
    def index_name(self) -> str:
        """What answers where the index is needed: "chroma" (embedded), "server" or "exact"; asking opens the index."""
        return self._index.name

    @property
    def mismatches(self) -> int:
        """How many answers of the index did not agree with the labelled images and were worked out exactly instead."""
        return self._index.mismatches

    def count(self) -> int:
        """Return how many images the memory holds."""
        return len(self.labelled_images)

    def query(self, vectors: Vectors, k: int, exclude: Sequence[str | None] | None = None) -> Neighbourhood:
        """Return the k nearest images to each of m vectors.

        Args:
            vectors: float32 (m, d) of unit length.
            k: number of neighbours, 1 or more.
            exclude: the identity of each query image, None where unknown: neither an image of the memory nor another
                one of its group is its neighbour.

        Returns:
            min(k, n) neighbours each; min(k, n - g) if images of the memory were excluded, g being the size of the
            largest of their groups.

        Raises:
            ImageMemoryError: vectors of another length than the memory's; k below 1.
            MemoryServerError: the server failed.
        """
        if k < 1:
            raise ImageMemoryError(f"{k} neighbours cannot be asked for: ask for 1 or more")
        if vectors.ndim != 2 or vectors.shape[1] != self.labelled_images.vectors.shape[1]:
            raise ImageMemoryError(
                f"vectors of shape {vectors.shape} do not fit a memory of shape {self.labelled_images.vectors.shape}: "
                "use the encoder that the memory was written with"
            )
        own = np.array(
            [self.labelled_images.rows.get(identity, -1) if identity else -1 for identity in exclude or ()], np.intp
        )
        if (own >= 0).any():
            groups = self.labelled_images.group_numbers
            group = np.where(own >= 0, groups[own], -1)
            most = int(np.bincount(groups)[group[own >= 0]].max())
            similarities, rows = self._index.query(vectors, k + most)
            is_same = groups[rows] == group[:, None]
            others = np.argsort(is_same, axis=1, kind="stable")[:, : min(k, len(self.labelled_images) - most)]
            similarities = np.take_along_axis(similarities, others, axis=1)
            rows = np.take_along_axis(rows, others, axis=1)
        else:
            similarities, rows = self._index.query(vectors, k)
        return Neighbourhood(rows, similarities, self._label_of_row[rows])

    def evidence(self, neighbourhood: Neighbourhood) -> list[dict[str, Any]]:
        """Return the evidence for each image, as plain data for `consilience.core.evidence.Evidence.from_dict`.

        It holds the neighbours, and the share of each label among them.
        """
        labelled_images, k = self.labelled_images, neighbourhood.rows.shape[1]
        places = neighbourhood.rows.tolist(), neighbourhood.similarities.tolist()
        return [
            {
                "neighbours": [
                    {
                        "id": labelled_images.ids[row],
                        "label": labelled_images.labels[row],
                        "similarity": similarity,
                        "source": labelled_images.sources[row],
                    }
                    for row, similarity in zip(rows, similarities, strict=True)
                ],
                "distribution": dict(zip(self.labels, shares, strict=True)) if k else {},
            }
            for rows, similarities, shares in zip(*places, self._shares(neighbourhood).tolist(), strict=True)
        ]

    def distance_ranks(self, neighbourhood: Neighbourhood) -> NDArray[np.float64]:
        """Return the share of the memory's own images that lie closer to their k-th neighbour than each image does.

        It is (m,), in [0, 1], and tells how novel an image is where a panel knows no better; 1 for a memory of fewer
        than two images. The first call for a number of neighbours compares all images of the memory with each other,
        unless that was done before they were saved.
        """
        k = min(neighbourhood.rows.shape[1], len(self.labelled_images) - 1)
        if k < 1:
            return np.ones(len(neighbourhood.rows))
        return rank_of_distance(1.0 - neighbourhood.similarities[:, k - 1], self.labelled_images.kth_distances(k))

    def prepare(self) -> None:
        """Bring the index, if queries need one, up to date now, rather than with the first of them."""
        self._index.prepare()

    def check(self) -> CheckReport:
        """Return how the whole index compares with the labelled images. Not while other threads query.

        Raises:
            MemoryBusyError: another process owns the embedded index.
            ImageMemoryError: the embedded index could not be opened.
            MemoryServerError: the server failed.
        """
        return self._index.check()

    def repair(self) -> None:
        """Build the index anew from the labelled images. Not while other threads query.

        Raises:
            MemoryBusyError: another process owns the embedded index.
            ImageMemoryError: the embedded index could not be opened.
            MemoryServerError: the server failed.
        """
        self._index.repair()

    def close(self) -> None:
        """Let go of the index, so that another process can own it. A second call does nothing."""
        self._close()

    def __enter__(self) -> ImageMemory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _shares(self, neighbourhood: Neighbourhood) -> NDArray[np.float64]:
        """Return the share of each label among the neighbours, weighted by similarity, negative as 0: (m, labels)."""
        weights = np.clip(neighbourhood.similarities.astype(np.float64), 0.0, None)
        weights[~weights.any(axis=1)] = 1.0
        shares = np.zeros((len(weights), len(self.labels)))
        np.add.at(shares, (np.arange(len(weights))[:, None], neighbourhood.labels), weights)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        return shares


def _close_where_opened(index: Index, process: int) -> None:
    """Close the index, unless this is a forked child, which must not touch what belongs to its parent."""
    if os.getpid() == process:
        index.close()


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of whoever writes the panel in `folder`; readers go on.

    Raises:
        PanelBusyError: another process, or this one elsewhere, is writing it.
        PanelError: the folder cannot be written.
    """
    try:
        lock = hold_lock(folder / "writer.lock")
    except LockHeldError as cause:
        raise PanelBusyError(
            f"the panel '{folder}' is being written by {cause.holder}: try again when it is done"
        ) from cause
    except OSError as cause:
        raise PanelError(f"the panel '{folder}' cannot be written: {cause.strerror}") from cause
    try:
        yield
    finally:
        lock.release()
