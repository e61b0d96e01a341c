"""The image memory's index in Chroma: made from the labelled images, kept equal to them, and checked against them."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from consilience.core.errors import ImageMemoryError, MemoryServerError
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.index import CheckReport, ExactIndex, Rows, exact_similarities, in_order
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import Vectors

T = TypeVar("T")

log = logging.getLogger(__name__)

# M 32 and ef 200: with Chroma's defaults, rows became unreachable after many deletions.
CONFIGURATION = {
    "hnsw": {
        "space": "cosine",
        "max_neighbors": 32,
        "ef_construction": 200,
        "ef_search": 200,
        "sync_threshold": 1000,
    }
}

TOLERANCE = 1e-3
"""How far a similarity or a number of a vector may be from the labelled images'."""

WRITTEN_AT_ONCE, ASKED_AT_ONCE = 1000, 100


def collection_name(panel: str, fingerprint: str) -> str:
    """Return the name of the collection of one panel and one encoder: several panels can share a server."""
    owner = "\0".join((panel, fingerprint))
    return f"consilience-{hashlib.sha256(owner.encode()).hexdigest()[:32]}"


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


class ChromaIndex:
    """A Chroma collection that mirrors labelled images: an `Index`.

    Every answer is held against the labelled images: one that names an unknown image, is too short or claims another
    similarity than the labelled images' vectors have is worked out exactly instead, and counted in `mismatches`.
    The similarities returned are always the labelled images' own. An image that an answer leaves out is not noticed:
    that is what `check` is for. Safe from many threads.

    Args:
        labelled_images: the images to mirror.
        connection: the embedded store, or the server.
        name: of the collection, made if it is missing.
        fingerprint: of the encoder that made the vectors.

    Raises:
        ImageMemoryError: the store cannot be read.
        MemoryServerError: the server cannot be reached.
    """

    def __init__(
        self, labelled_images: LabelledImages, connection: ChromaConnection, name: str, fingerprint: str
    ) -> None:
        self.name = connection.name
        self.mismatches = 0
        self._labelled_images = labelled_images
        self._exact = ExactIndex(labelled_images)
        self._connection = connection
        self._call = connection.call
        self._process = os.getpid()
        self._counting = threading.Lock()
        self._about = {"fingerprint": fingerprint}
        self._collection = self._open_collection(name)

    def sync(self) -> int:
        """Make the collection equal to the labelled images, and return how many images were written or deleted.

        Idempotent. Killed in the middle, it goes on where it was. Free where a stamp, written last, says that the
        collection was made from these very labelled images.
        """
        if self._stamp == self._digest and self._call(self._collection.count) == len(self._labelled_images):
            return 0
        self._write_stamp("")
        held = self._held()
        surplus = [identity for identity in held if identity not in self._labelled_images.rows]
        due = [
            row for row, identity in enumerate(self._labelled_images.ids) if held.get(identity) != self._digests[row]
        ]
        for ids in _batches(surplus, self._batch_size):
            self._call(self._collection.delete, ids=ids)
        for rows in _batches(due, self._batch_size):
            self._call(
                self._collection.upsert,
                ids=[self._labelled_images.ids[row] for row in rows],
                embeddings=self._labelled_images.vectors[rows],
                metadatas=[self._metadata(row) for row in rows],
            )
        self._write_stamp(self._digest)
        return len(surplus) + len(due)

    def query(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return the nearest labelled images, found exactly where the embedded store is broken. See `Index.query`.

        Raises:
            MemoryServerError: the server failed.
        """
        k = min(k, len(self._labelled_images))
        if k == 0 or os.getpid() != self._process:  # a forked child would hang in Chroma
            return self._exact.query(vectors, k)
        rows = np.zeros((len(vectors), k), np.intp)
        claimed = np.full((len(vectors), k), np.nan, np.float32)
        try:
            for query, (ids, similarities) in enumerate(self._ask(vectors, k)):
                neighbours = [
                    self._labelled_images.rows[identity] for identity in ids if identity in self._labelled_images.rows
                ]
                if len(set(neighbours)) == k:
                    rows[query], claimed[query] = neighbours, similarities
        except MemoryServerError:
            raise
        except ImageMemoryError as failure:
            log.warning("%s; answering without it", failure)
        similarities = exact_similarities(self._labelled_images.vectors, vectors, rows)
        wrong = ~(np.abs(similarities - claimed) <= TOLERANCE).all(axis=1)  # true where nothing was claimed
        similarities, rows = in_order(similarities, rows)
        if wrong.any():
            similarities[wrong], rows[wrong] = self._exact.query(vectors[wrong], k)
            self._report_mismatches(int(wrong.sum()))
        return similarities, rows

    def examine(self, sample: int | None = None) -> CheckReport:
        """Return how the collection compares with every labelled image.

        Args:
            sample: about how many images have their vector and a query compared as well; None: all.

        Raises:
            MemoryServerError: the server failed.
        """
        try:
            held = self._held()
            rows = self._labelled_images.rows
            outdated = [i for i, digest in held.items() if i in rows and digest != self._digests[rows[i]]]
            present = [row for row, i in enumerate(self._labelled_images.ids) if held.get(i) == self._digests[row]]
            step = 1 if sample is None else max(1, len(present) // sample)
            wrong = set(self._changed(present[::step])) | set(self._unreachable(present[::step]))
        except MemoryServerError:
            raise
        except ImageMemoryError as failure:
            return CheckReport(self.name, len(self._labelled_images), error=str(failure))
        return CheckReport(
            self.name,
            len(self._labelled_images),
            missing=len(self._labelled_images) - len(present) - len(outdated),
            unknown=sum(identity not in rows for identity in held),
            outdated=len(outdated),
            wrong=len(wrong),
        )

    def prepare(self) -> None:
        """Bring the collection up to date. See `Index.prepare`."""
        self.sync()

    def check(self) -> CheckReport:
        """Return how the collection compares with every labelled image. See `Index.check`."""
        return self.examine()

    def repair(self) -> None:
        """Delete the collection and write it anew. See `Index.repair`."""
        self._call(self._connection.client.delete_collection, name=self._collection.name)
        self._collection = self._open_collection(self._collection.name)
        self.sync()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _open_collection(self, name: str) -> Any:
        """Return the collection, made if missing; `embedding_function=None` keeps Chroma from downloading a model."""
        opening = self._connection.client.get_or_create_collection
        return self._call(opening, name=name, embedding_function=None, configuration=CONFIGURATION)

    def _ask(self, vectors: Vectors, k: int) -> Iterator[tuple[list[str], Any]]:
        """Yield ids and claimed similarities for each vector, as Chroma gives them."""
        for start in range(0, len(vectors), ASKED_AT_ONCE):
            asked = vectors[start : start + ASKED_AT_ONCE]
            answer = self._call(self._collection.query, query_embeddings=asked, n_results=k, include=["distances"])
            for ids, distances in zip(answer["ids"], answer["distances"], strict=True):
                yield ids, 1.0 - np.asarray(distances, np.float32)

    def _changed(self, rows: Sequence[int]) -> Iterator[int]:
        """Yield the rows whose vector in the collection is not the labelled images'."""
        for chosen in _batches(rows, WRITTEN_AT_ONCE):
            ids = [self._labelled_images.ids[row] for row in chosen]
            held = self._call(self._collection.get, ids=ids, include=["embeddings"])
            vectors = dict(zip(held["ids"], held["embeddings"], strict=True))
            for identity, row in zip(ids, chosen, strict=True):
                expected = self._labelled_images.vectors[row]
                if identity not in vectors or not np.allclose(vectors[identity], expected, rtol=0, atol=TOLERANCE):
                    yield row

    def _unreachable(self, rows: Sequence[int]) -> Iterator[int]:
        """Yield the rows that are not among the nearest of their own vector, nor crowded out by their equals."""
        k = min(10, len(rows))
        answers = self._ask(self._labelled_images.vectors[list(rows)], k) if rows else iter(())
        for row, (ids, similarities) in zip(rows, answers, strict=True):
            crowded_out = len(ids) == k and min(similarities) >= 1.0 - 1e-5
            if self._labelled_images.ids[row] not in ids and not crowded_out:
                yield row

    def _held(self) -> dict[str, str]:
        """Return the digest of every image in the collection, by identity."""
        held: dict[str, str] = {}
        for offset in range(0, self._call(self._collection.count), self._batch_size):
            page = self._call(self._collection.get, include=["metadatas"], limit=self._batch_size, offset=offset)
            for identity, metadata in zip(page["ids"], page["metadatas"], strict=True):
                held[identity] = str((metadata or {}).get("digest"))
        return held

    def _metadata(self, row: int) -> dict[str, str]:
        # Chroma takes no lone surrogates, which stand for the bytes of a file name that is not Unicode.
        source = self._labelled_images.sources[row].encode("utf-8", "backslashreplace").decode()
        return {
            **self._about,
            "label": self._labelled_images.labels[row],
            "source": source,
            "digest": self._digests[row],
        }

    @cached_property
    def _digests(self) -> list[str]:
        """Digest of what each image's entry was made from: label, source and vector."""
        labelled_images = self._labelled_images
        parts = zip(labelled_images.labels, labelled_images.sources, labelled_images.vectors, strict=True)
        return [
            hashlib.blake2b(
                f"{label}\0{source}\0".encode("utf-8", "surrogatepass") + vector.tobytes(), digest_size=16
            ).hexdigest()
            for label, source, vector in parts
        ]

    @cached_property
    def _digest(self) -> str:
        whole = "\0".join((*self._labelled_images.ids, *self._digests)).encode("utf-8", "surrogatepass")
        return hashlib.sha256(whole).hexdigest()

    @property
    def _stamp(self) -> str | None:
        return (self._collection.metadata or {}).get("records")

    def _write_stamp(self, digest: str) -> None:
        self._call(self._collection.modify, metadata={**self._about, "records": digest})

    @cached_property
    def _batch_size(self) -> int:
        return min(WRITTEN_AT_ONCE, int(self._call(self._connection.client.get_max_batch_size)))

    def _report_mismatches(self, count: int) -> None:
        with self._counting:
            level = logging.DEBUG if self.mismatches else logging.WARNING  # say it once, count every time
            self.mismatches += count
        log.log(
            level,
            "the index gave %d answers that do not agree with the image memory; they were worked out exactly. "
            "Run 'consilience check DIR --repair'",
            count,
        )
