"""The embedded index: a Chroma index in a folder that this process owns, or exact search while that is damaged."""

from __future__ import annotations

import logging

from consilience.retrieval.chroma import ChromaIndex
from consilience.retrieval.connection import Connection
from consilience.retrieval.index import CheckReport, ExactIndex, Index, Rows
from consilience.retrieval.novelty import Vectors
from consilience.retrieval.records import Records
from consilience.retrieval.store import Store

log = logging.getLogger(__name__)

EXAMINED_AT_OPENING = 256
"""Images that are looked up before a store is used whose files are not as they were left."""


class EmbeddedIndex:
    """A Chroma index that is opened only after its files were found as they were left, or sound in a child process.

    A damaged one is left as it is: the records are searched exactly until `repair`.
    """

    def __init__(self, records: Records, store: Store, name: str, fingerprint: str) -> None:
        """Take over `store` and bring it up to date.

        Raises:
            ImageMemoryError, OSError: the index cannot be written.
        """
        self._records = records
        self._store = store
        self._collection, self._fingerprint = name, fingerprint
        self._serving: Index = ExactIndex(records)
        state = store.state()
        if state == "unknown":
            state = "damaged" if self._examine(EXAMINED_AT_OPENING).damaged else "sound"
        if state == "damaged":
            log.warning(
                "the index in '%s' is damaged; answering without it. Run 'consilience check DIR --repair'", store.path
            )
        else:
            self._serve()

    @property
    def name(self) -> str:
        return self._serving.name

    @property
    def mismatches(self) -> int:
        return self._serving.mismatches

    def query(self, vectors: Vectors, k: int) -> tuple[Vectors, Rows]:
        return self._serving.query(vectors, k)

    def check(self) -> CheckReport:
        """Compare every image, in a child process; a damaged index is not searched any more."""
        self._rest()
        report = self._examine(None)
        if not report.damaged:
            self._serve()
        return report

    def repair(self) -> None:
        """Build the index anew, in an empty folder."""
        self._rest()
        self._store.clear()
        self._serve()

    def close(self) -> None:
        self._rest()
        self._store.release()

    def _examine(self, sample: int | None) -> CheckReport:
        report = self._store.examine(self._records, self._collection, self._fingerprint, sample)
        if report.damaged:
            self._store.seal(sound=False)  # so that the next opening need not find out again
        return report

    def _serve(self) -> None:
        self._store.break_seal()
        connection = Connection.embedded(self._store.path)
        try:
            index = ChromaIndex(self._records, connection, self._collection, self._fingerprint)
            index.sync()
            index.query(self._records.vectors[:1], 1)  # the first query may still write files
            self._store.seal(sound=True)
        except BaseException:
            connection.close()
            raise
        self._serving = index

    def _rest(self) -> None:
        """Close Chroma, as whoever else opens the files requires."""
        serving, self._serving = self._serving, ExactIndex(self._records)
        serving.close()
