"""History: every diagnosis as it was given, so that it can be looked up, discussed, corrected and learned from."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from sqlalchemy import ColumnElement, Row, delete, func, select

from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_record import Embedding, Verdict
from consilience.core.errors import ConsilienceError, DiagnosisMissingError, HistoryError
from consilience.core.settings.settings import HistorySettings
from consilience.core.storage.json_text import parsed_json
from consilience.orchestrator.feedback.database import (
    DIAGNOSES,
    FEEDBACK,
    STREAM_IMAGES,
    Database,
    from_moment,
    to_json,
    to_moment,
)

PICTURE = 256
"""Pixels of the longer side of what is kept of an image: people look at it again."""

LISTED = 5
"""Ids that are listed where the beginning of one fits several."""

PAGE = 100
"""Diagnoses that are read at a time."""

Pictures = Callable[[str], bytes | None]
"""Returns the picture of a similar image by its identity, such as `LabelledImages.thumbnail`."""


@dataclass(frozen=True)
class StoredDiagnosis:
    """One diagnosis as it was kept.

    Attributes:
        id: unguessable and URL-safe: links and buttons carry it.
        when: UTC.
        diagnosis: with its embedding, if there was one; without its image, where it was read from the history.
        thumbnail: a small JPEG of the image; None if none was kept.
        channel: where it was asked for: "python", "command", "chat", "web", "slack".
        person: who asked; empty if unknown.
    """

    id: str
    when: datetime
    diagnosis: Diagnosis
    thumbnail: bytes | None
    channel: str
    person: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without the picture and the embedding."""
        return {
            "id": self.id,
            "when": self.when.isoformat(timespec="seconds"),
            "channel": self.channel,
            "person": self.person,
            **self.diagnosis.to_dict(),
        }


class History:
    """The diagnoses of one panel, in `history.sqlite` in its folder or in a database at a URL.

    Safe from many threads and several processes; a context manager. Every method raises HistoryError if the store is
    locked, full, read-only, damaged or cannot be reached.

    >>> with History.open("panel/") as history:                              # doctest: +SKIP
    ...     history.get(history.keep(diagnosis).id).diagnosis.label
    """

    def __init__(self, database: Database, settings: HistorySettings) -> None:
        self.database, self.settings = database, settings

    @classmethod
    def open(cls, panel: str | Path, settings: HistorySettings | None = None) -> Self:
        """Open the history of a panel, or make a new one.

        Raises:
            PanelError: there is no panel.
            HistoryError: the database cannot be used.
        """
        settings = settings or HistorySettings()
        return cls(Database(Path(panel), settings.url), settings)

    def keep(self, diagnosis: Diagnosis, *, channel: str = "python", person: str = "") -> StoredDiagnosis:
        """Keep a diagnosis with its thumbnail and its embedding."""
        return self.keep_many([(diagnosis, channel, person)])[0]

    def keep_many(self, requests: Iterable[tuple[Diagnosis, str, str]]) -> list[StoredDiagnosis]:
        """Keep diagnoses, each with its channel and person, in one transaction: all of them, or none."""
        diagnoses = [self._new(*request) for request in requests]
        rows = [self._row(stored) for stored in diagnoses]
        with self.database.transaction() as connection:
            connection.execute(DIAGNOSES.insert(), rows)
        return diagnoses

    def whole_id(self, beginning: str) -> str:
        """Return the id of the one diagnosis whose id begins so.

        Raises:
            DiagnosisMissingError: there is none.
            HistoryError: there are several; the message lists some.
        """
        literal = beginning.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        like = DIAGNOSES.c.id.like(f"{literal}%", escape="\\")
        with self.database.transaction() as connection:
            found = select(DIAGNOSES.c.id).where(self._own(), like).order_by(DIAGNOSES.c.id).limit(LISTED + 1)
            ids = [id for (id,) in connection.execute(found) if id.startswith(beginning)]
        if not beginning or not ids:
            raise DiagnosisMissingError(
                f"the history '{self.database.name}' has no diagnosis '{beginning}': it was deleted, or is another "
                "panel's"
            )
        if len(ids) > 1 and beginning not in ids:
            listed = ", ".join(ids[:LISTED]) + (", ..." if len(ids) > LISTED else "")
            raise HistoryError(f"several diagnoses begin with '{beginning}': {listed}; give more of the id")
        return beginning if beginning in ids else ids[0]

    def get(self, id: str, pictures: Pictures | None = None) -> StoredDiagnosis:
        """Return one diagnosis.

        Args:
            id: of the diagnosis.
            pictures: reads the pictures of the similar images in its evidence, if they are wanted.

        Raises:
            DiagnosisMissingError: it was deleted, or was never there.
        """
        with self.database.transaction() as connection:
            row = connection.execute(select(DIAGNOSES).where(self._own(), DIAGNOSES.c.id == id)).one_or_none()
        if row is None:
            raise DiagnosisMissingError(
                f"the history '{self.database.name}' has no diagnosis '{id}': it was deleted, or is another panel's"
            )
        return self._stored(row, pictures)

    def find(
        self,
        *,
        label: str | None = None,
        verdict: Verdict | None = None,
        person: str | None = None,
        channel: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[StoredDiagnosis]:
        """Yield diagnoses, the newest first; they are read page by page.

        Args:
            label: what was diagnosed.
            verdict: "confident" or "refer".
            person: who asked.
            channel: where it was asked for.
            since: only from then on.
            until: only before then.
            limit: how many, at most.
        """
        columns = DIAGNOSES.c
        wanted = [
            self._own(),
            *(columns[name] == value for name, value in _not_none(label=label, verdict=verdict).items()),
            *(columns[name] == value for name, value in _not_none(person=person, channel=channel).items()),
            *([columns.moment >= to_moment(since)] if since is not None else []),
            *([columns.moment < to_moment(until)] if until is not None else []),
        ]
        last, left = None, limit
        while left is None or left > 0:
            page = PAGE if left is None else min(PAGE, left)
            query = (
                select(DIAGNOSES)
                .where(*wanted, *([] if last is None else [columns.number < last]))
                .order_by(columns.number.desc())
                .limit(page)
            )
            with self.database.transaction() as connection:  # none stays open while the caller works
                rows = connection.execute(query).all()
            yield from map(self._stored, rows)
            if len(rows) < page:
                return
            last, left = rows[-1].number, None if left is None else left - len(rows)

    def count(self, *, since: datetime | None = None) -> int:
        """Return how many diagnoses are kept; with `since`, how many from then on."""
        wanted = [self._own(), *([DIAGNOSES.c.moment >= to_moment(since)] if since is not None else [])]
        with self.database.transaction() as connection:
            return int(connection.execute(select(func.count()).select_from(DIAGNOSES).where(*wanted)).scalar_one())

    def delete(self, ids: Iterable[str]) -> int:
        """Delete diagnoses, the votes on them and what is kept of their images; return how many there were.

        What was learned stays.
        """
        deleted = 0
        with self.database.transaction() as connection:
            for id in ids:
                image = select(DIAGNOSES.c.identity).where(DIAGNOSES.c.id == id, self._own())
                kept = (self._own(STREAM_IMAGES), STREAM_IMAGES.c.identity.in_(image))
                connection.execute(delete(STREAM_IMAGES).where(*kept))
                connection.execute(delete(FEEDBACK).where(FEEDBACK.c.diagnosis == id, self._own(FEEDBACK)))
                gone = connection.execute(delete(DIAGNOSES).where(DIAGNOSES.c.id == id, self._own()))
                deleted += gone.rowcount
        return deleted

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _new(self, diagnosis: Diagnosis, channel: str, person: str) -> StoredDiagnosis:
        image = diagnosis.image
        thumbnail = image.thumbnail(PICTURE) if image is not None and self.settings.thumbnails else None
        return StoredDiagnosis(secrets.token_hex(16), datetime.now(UTC), diagnosis, thumbnail, channel, person)

    def _row(self, stored: StoredDiagnosis) -> dict[str, Any]:
        """Return a diagnosis as a row of the table."""
        diagnosis, embedding = stored.diagnosis, stored.diagnosis.embedding
        return {
            "id": stored.id,
            "panel": self.database.panel,
            "moment": to_moment(stored.when),
            "label": diagnosis.label,
            "verdict": diagnosis.verdict,
            "identity": diagnosis.identity,
            "channel": stored.channel,
            "person": stored.person,
            "record": to_json(diagnosis.to_dict()),
            "encoder": embedding and embedding.encoder,
            "vector": embedding and np.asarray(embedding.vector, dtype="<f4").tobytes(),
            "thumbnail": stored.thumbnail,
        }

    def _own(self, table: Any = DIAGNOSES) -> ColumnElement[bool]:
        """Return the condition that a row belongs to this panel: one database may serve many."""
        own: ColumnElement[bool] = table.c.panel == self.database.panel
        return own

    def _stored(self, row: Row[Any], pictures: Pictures | None = None) -> StoredDiagnosis:
        """Return the diagnosis that a row of the table holds."""
        try:
            diagnosis = Diagnosis.from_dict(parsed_json(row.record), pictures)
        except (ValueError, TypeError, KeyError, ConsilienceError) as cause:
            raise HistoryError(
                f"the diagnosis '{row.id}' in the history '{self.database.name}' is damaged ({cause!r}): delete it "
                f"with 'consilience history {row.id} --delete'"
            ) from cause
        if row.vector is not None:
            vector = np.frombuffer(row.vector, dtype="<f4").astype(np.float32)
            diagnosis = replace(diagnosis, embedding=Embedding(vector, row.encoder))
        return StoredDiagnosis(row.id, from_moment(row.moment), diagnosis, row.thumbnail, row.channel, row.person)


def _not_none(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
