"""The log of what a panel learned from feedback: its changes, numbered from 1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from consilience.core.storage.json_text import parsed_json
from consilience.core.task import NONE_OF_THESE
from consilience.orchestrator.feedback.database import CHANGES, Database, from_moment, now, to_json


@dataclass(frozen=True)
class LearnedChange:
    """One change of a panel by feedback.

    Attributes:
        number: 1 for the first; `undo` takes it.
        when: UTC.
        images: identity and label of each image that joined the memory; NONE_OF_THESE for an example of the unknown.
        judged: how many of them count for calibration and trust, too.
        undone: when it was undone; None if it was not.
    """

    number: int
    when: datetime
    images: tuple[tuple[str, str], ...]
    judged: int
    undone: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the change as plain data, for JSON; the label is null for an example of the unknown."""
        return {
            "number": self.number,
            "when": self.when.isoformat(timespec="seconds"),
            "images": [
                {"identity": identity, "label": None if label == NONE_OF_THESE else label}
                for identity, label in self.images
            ],
            "judged": self.judged,
            "undone": self.undone and self.undone.isoformat(timespec="seconds"),
        }


def changes_in(database: Database) -> list[LearnedChange]:
    """Return what a panel learned, from its open database, the oldest change first."""
    with database.transaction() as connection:
        query = select(CHANGES).where(CHANGES.c.panel == database.panel).order_by(CHANGES.c.number)
        rows = connection.execute(query).all()
    return [_change(row) for row in rows]


def last_number(database: Database) -> int:
    """Return the number of the last change; 0 if there is none."""
    with database.transaction() as connection:
        query = select(func.max(CHANGES.c.number)).where(CHANGES.c.panel == database.panel)
        return int(connection.execute(query).scalar_one() or 0)


def log_change(connection: Connection, database: Database, change: LearnedChange) -> None:
    """Write a change down, in the caller's transaction."""
    record = to_json({"images": change.images, "judged": change.judged})
    row = {"panel": database.panel, "number": change.number, "moment": now(), "record": record}
    connection.execute(CHANGES.insert(), row)


def _change(row: Any) -> LearnedChange:
    record = parsed_json(row.record)
    images = tuple((identity, label) for identity, label in record["images"])
    undone = None if row.undone is None else from_moment(row.undone)
    return LearnedChange(row.number, from_moment(row.moment), images, record["judged"], undone)
