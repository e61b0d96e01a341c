"""The watch on the sources that images come from, kept in the history: a restart goes on where it was.

What each watch does, and what its alarm promises: `consilience.orchestrator.shift`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, delete, select, update
from sqlalchemy.exc import IntegrityError

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import HistoryError
from consilience.core.render.phrases import one_line, source_name
from consilience.core.storage.json_text import parsed_json
from consilience.orchestrator.feedback.database import STREAM_IMAGES, STREAMS, Database, from_moment, now, to_json
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.source_watch import SeenImage, SourceWatch
from consilience.retrieval.encoders.encoder import Vectors

LONGEST_SOURCE = 200
"""Characters of a source's name that are kept."""

EXAMPLES = 5
"""Names of images that a stream tells."""

ATTEMPTS = 20
"""How often a write is tried anew, where another process wrote the same source meanwhile."""


@dataclass(frozen=True)
class Stream:
    """Where the watch on one source stands.

    Attributes:
        source: its name, see `source_of`.
        last: when its last image came, UTC.
        seen: images that came. counted: those that were compared, of a burst one.
        alarm: whether its images are known to differ from the labelled ones.
        wealth: of the martingale, at least 0; 1 at the start; the alarm is raised at 100.
        mean_rank: share of the held-out labelled images that are less strange than its last images, on average, [0, 1];
            about 0.5 where nothing differs; None without any.
        examples: names of the last images.
    """

    source: str
    last: datetime
    seen: int
    counted: int
    alarm: bool
    wealth: float
    mean_rank: float | None
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {**self.__dict__, "last": self.last.isoformat(timespec="seconds"), "examples": list(self.examples)}


def source_of(diagnosis: Diagnosis, channel: str, place: str = "") -> str:
    """Return the name of the source of an image: channel and place, and the camera if the image names one.

    Args:
        channel: "command", "chat", "web" or "slack".
        place: what the caller says of where images come from; empty: nothing.
    """
    camera = "" if diagnosis.image is None else diagnosis.image.shot.camera
    return one_line(", ".join(filter(None, (channel, place, camera))), LONGEST_SOURCE)


class Streams:
    """The watch on each source of a panel's images. Safe from many threads and several processes.

    Every method raises HistoryError if the database is locked, full, read-only, damaged or cannot be reached.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def observe(self, reference: ShiftReference, diagnoses: Sequence[tuple[Diagnosis, str]]) -> list[bool]:
        """Take images as they come, and return for each whether its source's alarm holds then.

        Args:
            reference: what images are compared with.
            diagnoses: of each image, with the name of its source.

        An image without a vector of the reference's encoder tells nothing: what held before holds.
        """
        for _ in range(ATTEMPTS):
            try:
                with self._database.transaction() as connection:
                    return self._observed(connection, reference, diagnoses)
            except _WrittenMeanwhileError:
                continue
        raise HistoryError(f"the history '{self._database.name}' is written by too many at once: try again in a moment")

    def all(self, reference: ShiftReference) -> list[Stream]:
        """Return where the watch on each source stands, the one that brought the last image first.

        Args:
            reference: what images are compared with; where it is another than at the last image, that is where the
                watch stands after beginning again with it.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(select(STREAMS).where(self._own(STREAMS)).order_by(STREAMS.c.moment.desc())).all()
            return [_stream(row.source, row.moment, self._restored(connection, row, reference)) for row in rows]

    def _observed(
        self, connection: Connection, reference: ShiftReference, diagnoses: Sequence[tuple[Diagnosis, str]]
    ) -> list[bool]:
        alarms = [False] * len(diagnoses)
        moment = now()
        for source in dict.fromkeys(source for _, source in diagnoses):
            row = connection.execute(
                select(STREAMS).where(self._own(STREAMS), STREAMS.c.source == source)
            ).one_or_none()
            watch = SourceWatch(reference) if row is None else self._restored(connection, row, reference)
            for place, (diagnosis, its_source) in enumerate(diagnoses):
                embedding = diagnosis.embedding
                if its_source != source:
                    continue
                if embedding is not None and embedding.encoder == reference.encoder:
                    watch.observe(diagnosis.identity, source_name(diagnosis.source), embedding.vector)
                alarms[place] = watch.alarm
            self._write(connection, source, None if row is None else row.version, moment, watch)
        return alarms

    def _restored(self, connection: Connection, row: Row[Any], reference: ShiftReference) -> SourceWatch:
        images = connection.execute(
            select(STREAM_IMAGES)
            .where(self._own(STREAM_IMAGES), STREAM_IMAGES.c.source == row.source)
            .order_by(STREAM_IMAGES.c.number)
        ).all()
        recent = [
            SeenImage(image.number, image.identity, image.name, _vector(image.vector))
            for image in images
            if image.encoder == reference.encoder
        ]
        try:
            return SourceWatch.restored(reference, parsed_json(row.record), recent)
        except (ValueError, TypeError, KeyError) as cause:
            raise HistoryError(
                f"the watch on '{row.source}' in the history '{self._database.name}' is damaged ({cause!r}): restore a "
                "copy, or move it away to start a new one"
            ) from cause

    def _write(self, connection: Connection, source: str, version: int | None, moment: int, watch: SourceWatch) -> None:
        values = {"moment": moment, "record": to_json(watch.to_dict())}
        key = {"panel": self._database.panel, "source": source}
        if version is None:
            try:
                connection.execute(STREAMS.insert().values(**key, version=1, **values))
            except IntegrityError as cause:
                raise _WrittenMeanwhileError from cause
        else:
            changed = connection.execute(
                update(STREAMS)
                .where(self._own(STREAMS), STREAMS.c.source == source, STREAMS.c.version == version)
                .values(version=version + 1, **values)
            )
            if changed.rowcount != 1:
                raise _WrittenMeanwhileError
        own = (self._own(STREAM_IMAGES), STREAM_IMAGES.c.source == source)
        there = set(connection.execute(select(STREAM_IMAGES.c.number).where(*own)).scalars())
        kept = {image.number: image for image in watch.recent}
        if gone := there - kept.keys():
            connection.execute(delete(STREAM_IMAGES).where(*own, STREAM_IMAGES.c.number.in_(gone)))
        if new := [kept[number] for number in sorted(kept.keys() - there)]:
            connection.execute(
                STREAM_IMAGES.insert(),
                [
                    {
                        **key,
                        "number": image.number,
                        "identity": image.identity,
                        "name": image.name,
                        "encoder": watch.reference.encoder,
                        "vector": np.asarray(image.vector, dtype="<f2").tobytes(),
                    }
                    for image in new
                ],
            )

    def _own(self, table: Any) -> ColumnElement[bool]:
        """Return the condition that a row belongs to this panel: one database may serve many."""
        own: ColumnElement[bool] = table.c.panel == self._database.panel
        return own


class _WrittenMeanwhileError(Exception):
    """Another process wrote the same stream since it was read."""


def _stream(source: str, moment: int, watch: SourceWatch) -> Stream:
    return Stream(
        source,
        from_moment(moment),
        watch.seen,
        watch.counted,
        watch.alarm,
        watch.martingale.wealth,
        watch.recent_shift().mean_rank,
        tuple(image.name for image in watch.recent[-EXAMPLES:]),
    )


def _vector(data: bytes) -> Vectors:
    """Return a kept vector, of unit length again: half precision rounds it."""
    vector = np.frombuffer(data, dtype="<f2").astype(np.float32)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))
