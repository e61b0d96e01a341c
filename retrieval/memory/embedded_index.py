"""The embedded index: a Chroma index in a folder, opened by the first query over a memory too large to compare."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from consilience.core.errors import ImageMemoryError, MemoryBusyError
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.chroma_index import ChromaIndex
from consilience.retrieval.memory.index import CheckReport, ExactIndex, Index, Rows
from consilience.retrieval.memory.index_store import Store
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import Vectors

log = logging.getLogger(__name__)

COMPARED_NUMBERS = 12_800_000
"""While all vectors together have at most so many numbers (10,000 of 1,280, or 25,000 of 512), one exact product
answers, which cannot miss a neighbour, and Chroma is not even loaded. It took 0.2 ms a query alone and 0.05 in batches
of 64 where Chroma took 1 and 0.4 (640 of 1,280), 3.7 and 0.8 where Chroma took 2.8 and 2 (10,000 of 1,280), and 3.1 and
0.5 where Chroma took 3.5 and 2.6 and found 99.4 % (20,000 of 512; to build that index takes 30 s)."""

EXAMINED_AT_OPENING = 256
"""Images that are looked up before a store is used whose files are not as they were left."""


def are_all_compared(labelled_images: LabelledImages) -> bool:
    """Return whether so few numbers are searched that every image is compared, and no index is needed."""
    return labelled_images.vectors.size <= COMPARED_NUMBERS


class EmbeddedIndex:
    """A Chroma index that is opened when it is first needed, and only if this process can own it.

    It is searched after its files were found as they were left, or sound in a child process. A damaged one is left as
    it is until `repair`. Whatever keeps it from being searched, the labelled images are searched exactly: a reader
    is never refused. Safe from many threads; a forked child searches exactly.
    """

    def __init__(self, labelled_images: LabelledImages, path: Path, name: str, fingerprint: str) -> None:
        """Make an index that is not yet opened; its folder is made when needed, beside it stand its lock and its seal.

        Args:
            labelled_images: the images to search.
            path: folder of the index.
            name: of the collection in it.
            fingerprint: of the encoder that made the vectors.
        """
        self._labelled_images, self._path = labelled_images, path
        self._collection, self._fingerprint = name, fingerprint
        self._exact = ExactIndex(labelled_images)
        self._process = os.getpid()
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._serving: Index | None = None

    @property
    def name(self) -> str:
        """What answers where the index is needed, "chroma" or "exact"; asking opens the index."""
        return self._opened().name

    @property
    def mismatches(self) -> int:
        """How many answers did not agree with the labelled images and were worked out exactly instead."""
        return 0 if self._serving is None else self._serving.mismatches

    def query(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return the nearest labelled images; see `Index.query`. Few are all compared: see `are_all_compared`."""
        index = self._exact if are_all_compared(self._labelled_images) else self._opened()
        return index.query(vectors, k)

    def prepare(self) -> None:
        """Open the index and bring it up to date, if queries need it; where all images are compared it can wait."""
        if not are_all_compared(self._labelled_images):
            self._opened()

    def check(self) -> CheckReport:
        """Return how the index compares with every image, examined in a child process.

        A damaged one is not searched any more.

        Raises:
            ImageMemoryError: it could not be opened; MemoryBusyError where another process owns it.
        """
        serving = self._opened()
        if self._store is None:
            return serving.check()  # raises why there is none
        self._rest()
        report = self._examine(self._store, None)
        if not report.damaged:
            self._serving = self._serve(self._store)
        return report

    def repair(self) -> None:
        """Build the index anew, in an empty folder.

        Raises:
            ImageMemoryError: it could not be opened; MemoryBusyError where another process owns it.
        """
        serving = self._opened()
        if self._store is None:
            serving.repair()  # raises why there is none
            return
        self._rest()
        self._store.clear()
        self._serving = self._serve(self._store)

    def close(self) -> None:
        """Close the index and let go of its folder, so that another process can own it."""
        self._rest()
        if self._store is not None:
            self._store.release()

    def _opened(self) -> Index:
        if os.getpid() != self._process:
            return self._exact
        with self._opening:
            if self._serving is None:
                self._serving = self._open()
            return self._serving

    def _open(self) -> Index:
        """Return Chroma, up to date, if its folder can be owned and its files are sound; else an exact search."""
        try:
            store = Store(self._path)
        except MemoryBusyError as busy:
            return ExactIndex(self._labelled_images, instead=busy)
        except OSError as failure:
            return self._exact_instead(failure)
        try:
            index: Index = self._serve(store) if self._is_sound(store) else self._exact
        except (ImageMemoryError, OSError) as failure:
            store.release()
            return self._exact_instead(failure)
        except BaseException:
            store.release()
            raise
        self._store = store
        return index

    def _is_sound(self, store: Store) -> bool:
        """Return whether the store is empty, is as it was left, or was found sound in a child process."""
        state = store.state()
        is_damaged = state == "damaged" or (state == "unknown" and self._examine(store, EXAMINED_AT_OPENING).damaged)
        if is_damaged:
            log.warning(
                "the index in '%s' is damaged; answering without it. Run 'consilience check DIR --repair'", self._path
            )
        return not is_damaged

    def _serve(self, store: Store) -> Index:
        store.break_seal()
        connection = ChromaConnection.embedded(store.path)
        try:
            index = ChromaIndex(self._labelled_images, connection, self._collection, self._fingerprint)
            index.sync()
            index.query(self._labelled_images.vectors[:1], 1)  # the first query may still write files
            store.seal(sound=True)
        except BaseException:
            connection.close()
            raise
        return index

    def _exact_instead(self, failure: Exception) -> Index:
        reason = ImageMemoryError(f"the index in '{self._path}' cannot be used: {failure}")
        log.warning("%s; the memory is searched exactly", reason)
        return ExactIndex(self._labelled_images, instead=reason)

    def _examine(self, store: Store, sample: int | None) -> CheckReport:
        report = store.examine(self._labelled_images, self._collection, self._fingerprint, sample)
        if report.damaged:
            store.seal(sound=False)  # so that the next opening need not find out again
        return report

    def _rest(self) -> None:
        """Close Chroma, as whoever else opens the files requires."""
        serving, self._serving = self._serving, self._exact
        if serving is not None:
            serving.close()
