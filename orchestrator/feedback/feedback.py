"""What people say of diagnoses, and when it counts.

A vote counts at once, when enough people agree, or when a person has accepted it (`LearningSettings.review`). Where two
people disagree, votes wait under every rule until a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, select, update

from consilience.core.errors import DiagnosisMissingError, HistoryError
from consilience.core.settings.settings import LearningSettings
from consilience.core.storage.panel_folder import read_panel_folder
from consilience.core.task import NONE_OF_THESE, Task
from consilience.orchestrator.feedback.database import DIAGNOSES, FEEDBACK, from_moment, now
from consilience.orchestrator.feedback.history import History

Status = Literal["waiting", "counts", "refused", "undone"]


@dataclass(frozen=True)
class Feedback:
    """One person's vote on one diagnosis.

    Attributes:
        diagnosis: its id.
        person: who voted; empty if unknown.
        label: what the image shows, in the person's view; NONE_OF_THESE: none of the task's labels.
        when: UTC.
        status: "waiting" for review or agreement, "counts", "refused", or "undone" after it was learned.
        change: the change of the panel that learned it; None if none has.
    """

    diagnosis: str
    person: str
    label: str
    when: datetime
    status: Status
    change: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the vote as plain data, for JSON; the label is null where the image shows none of them."""
        return {
            "diagnosis": self.diagnosis,
            "person": self.person,
            "label": None if self.label == NONE_OF_THESE else self.label,
            "none_of_these": self.label == NONE_OF_THESE,
            "when": self.when.isoformat(timespec="seconds"),
            "status": self.status,
            "change": self.change,
        }


@dataclass(frozen=True)
class VotedDiagnosis:
    """A diagnosis and the votes on it, the oldest first.

    Attributes:
        diagnosis: its id.
    """

    diagnosis: str
    votes: tuple[Feedback, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels that people voted for, each once; refused and undone votes left out."""
        return tuple(dict.fromkeys(vote.label for vote in self.votes if vote.status in ("waiting", "counts")))

    @property
    def is_disputed(self) -> bool:
        """Return whether people voted for different labels."""
        return len(self.labels) > 1


class Feedbacks:
    """The votes on the diagnoses of a history. Every method raises HistoryError as `History` does."""

    def __init__(self, history: History, settings: LearningSettings | None = None) -> None:
        self.history, self.settings = history, settings or LearningSettings()
        self._database = history.database

    def give(self, id: str, person: str, label: str | None) -> Feedback:
        """Take a person's vote. It replaces the person's earlier one, unless that was learned.

        Args:
            id: of the diagnosis.
            person: who votes; empty if unknown.
            label: what the image shows, by name or synonym; NONE_OF_THESE: none of the task's labels; None: what was
                diagnosed is right.

        Raises:
            HistoryError: the diagnosis is gone, the panel's task has no such label, or the person's vote was learned.
        """
        named = self._label(label if label is not None else self.history.get(id).diagnosis.label)
        row = {
            "diagnosis": id,
            "person": person,
            "panel": self._database.panel,
            "label": named,
            "moment": now(),
            "status": "waiting",
        }
        same = (FEEDBACK.c.diagnosis == id, FEEDBACK.c.person == person)
        with self._database.transaction() as connection:
            # A write first: SQLite would refuse one after a read if somebody else wrote in between.
            connection.execute(delete(FEEDBACK).where(*same, FEEDBACK.c.change.is_(None)))
            if connection.execute(select(DIAGNOSES.c.id).where(DIAGNOSES.c.id == id)).one_or_none() is None:
                raise DiagnosisMissingError(f"there is no diagnosis '{id}': it was deleted, or the id is wrong")
            if (learned := connection.execute(select(FEEDBACK).where(*same)).one_or_none()) is not None:
                raise HistoryError(
                    f"the panel has learned what '{person}' said of the diagnosis '{id}' ({learned.label}): run "
                    f"'consilience undo {learned.change}' first"
                )
            connection.execute(FEEDBACK.insert(), row)
            self._judge(connection, id)
            return _feedback(connection.execute(select(FEEDBACK).where(*same)).one())

    def of(self, id: str) -> list[Feedback]:
        """Return the votes on one diagnosis, the oldest first."""
        return self._read(FEEDBACK.c.diagnosis == id)

    def all(self, status: Status | None = None) -> list[Feedback]:
        """Return the votes on all diagnoses, the oldest first; with a status, only those that have it."""
        return self._read(*([FEEDBACK.c.status == status] if status is not None else []))

    def waiting(self) -> list[VotedDiagnosis]:
        """Return the diagnoses with votes that wait, the longest waiting first, with all votes on them."""
        waiting = dict.fromkeys(vote.diagnosis for vote in self.all("waiting"))
        return [VotedDiagnosis(id, tuple(self.of(id))) for id in waiting]

    def accept(self, id: str, label: str, reviewer: str = "") -> None:
        """Decide that the image shows `label`, or NONE_OF_THESE: votes for it count, others that wait are refused.

        Where nobody voted for it, it becomes the reviewer's own vote.

        Raises:
            HistoryError: the diagnosis is gone, there is no such label, or another one was learned.
        """
        named = self._label(label)
        self.history.get(id)
        votes = [vote for vote in self.of(id) if vote.status in ("waiting", "counts")]
        if learned := [vote for vote in votes if vote.change is not None and vote.label != named]:
            raise HistoryError(
                f"the panel has learned the diagnosis '{id}' as '{learned[0].label}': run "
                f"'consilience undo {learned[0].change}' first"
            )
        if not any(vote.label == named for vote in votes):
            self.give(id, reviewer, named)
        unlearned = (FEEDBACK.c.diagnosis == id, FEEDBACK.c.change.is_(None))
        live = FEEDBACK.c.status.in_(("waiting", "counts"))
        with self._database.transaction() as connection:
            is_right = FEEDBACK.c.label == named
            connection.execute(update(FEEDBACK).where(*unlearned, live, is_right).values(status="counts"))
            connection.execute(update(FEEDBACK).where(*unlearned, live, ~is_right).values(status="refused"))

    def refuse(self, id: str) -> None:
        """Refuse all votes on a diagnosis that wait."""
        waits = (FEEDBACK.c.diagnosis == id, FEEDBACK.c.status == "waiting")
        with self._database.transaction() as connection:
            connection.execute(update(FEEDBACK).where(*waits).values(status="refused"))

    def to_learn(self) -> list[Feedback]:
        """Return the votes that count and were not learned yet: of each diagnosis one, the oldest first."""
        counts = [vote for vote in self.all("counts") if vote.change is None]
        return list({vote.diagnosis: vote for vote in reversed(counts)}.values())[::-1]

    def mark(self, ids: Iterable[str], change: int, connection: Connection | None = None) -> None:
        """Note that these diagnoses' votes were learned with a change; in the caller's transaction, if it has one."""
        with self._database.transaction() if connection is None else nullcontext(connection) as connection:
            for id in ids:
                counts = (FEEDBACK.c.diagnosis == id, FEEDBACK.c.status == "counts", FEEDBACK.c.change.is_(None))
                connection.execute(update(FEEDBACK).where(*counts).values(change=change))

    def mark_undone(self, change: int, connection: Connection) -> None:
        """Note that what was learned with a change is undone: a person's next vote replaces it."""
        learned = (FEEDBACK.c.panel == self._database.panel, FEEDBACK.c.change == change)
        connection.execute(update(FEEDBACK).where(*learned).values(status="undone", change=None))

    def _judge(self, connection: Connection, id: str) -> None:
        """Set which votes on a diagnosis count now, by the rule."""
        voted = VotedDiagnosis(id, tuple(map(_feedback, connection.execute(_in_order(FEEDBACK.c.diagnosis == id)))))
        live = [vote for vote in voted.votes if vote.status in ("waiting", "counts")]
        people = {vote.person for vote in live if vote.person}
        is_enough = (
            any(vote.status == "counts" for vote in live)
            or self.settings.review == "at-once"
            or (self.settings.review == "agreement" and len(people) >= self.settings.people)
        )
        status = "counts" if is_enough and not voted.is_disputed else "waiting"
        mine = (FEEDBACK.c.diagnosis == id, FEEDBACK.c.change.is_(None), FEEDBACK.c.status.in_(("waiting", "counts")))
        connection.execute(update(FEEDBACK).where(*mine).values(status=status))

    def _label(self, text: str) -> str:
        if text == NONE_OF_THESE:
            return text
        task = read_panel_folder(self._database.folder, lambda folder: Task.from_file(folder.state / "task.yaml"))
        if (name := task.find(text)) is None:
            raise HistoryError(f"the panel's task has no label '{text}'; it has {', '.join(task.names)}")
        return name

    def _read(self, *wanted: Any) -> list[Feedback]:
        with self._database.transaction() as connection:
            query = _in_order(FEEDBACK.c.panel == self._database.panel, *wanted)
            return [_feedback(row) for row in connection.execute(query)]


def _in_order(*wanted: Any) -> Any:
    return select(FEEDBACK).where(*wanted).order_by(FEEDBACK.c.moment, FEEDBACK.c.person)


def _feedback(row: Any) -> Feedback:
    return Feedback(row.diagnosis, row.person, row.label, from_moment(row.moment), row.status, row.change)
