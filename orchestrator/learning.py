"""Learning from feedback: what counts joins the image memory, the heads, calibration and trust; and can be undone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from consilience.orchestrator.gather import Progress, quiet
from consilience.settings import Settings


@dataclass(frozen=True)
class Change:
    """One change of a panel by feedback.

    Attributes:
        number: 1 for the first; `undo` takes it.
        when: UTC. undone: when it was undone; None if it was not.
        images: identity and label of each image that joined the memory.
        judged: how many of them count for calibration and trust, too.
    """

    number: int
    when: datetime
    images: tuple[tuple[str, str], ...]
    judged: int
    undone: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class LearnReport:
    """What came of it.

    Attributes:
        change: None if nothing was learned.
        left_out: by the id of a diagnosis, why what counts of it could not be learned.
    """

    change: Change | None
    left_out: dict[str, str]


def learn(
    panel: str | Path, *, settings: Settings | None = None, progress: Progress = quiet, **arguments: Any
) -> LearnReport:
    """Learn all feedback that counts and was not learned yet, in one write of the panel.

    Raises:
        HistoryError: the store cannot be used. PanelError, PanelBusyError, EncoderError: as for `add`.
    """
    raise NotImplementedError


def undo(panel: str | Path, number: int, *, settings: Settings | None = None, **arguments: Any) -> Change:
    """Take back a change: its images leave the memory, heads, calibration and trust.

    Raises:
        HistoryError: there is no such change, or it was undone. DatasetError: as for `remove`.
    """
    raise NotImplementedError


def changes(panel: str | Path, *, settings: Settings | None = None, **arguments: Any) -> list[Change]:
    """What the panel learned, the oldest first. Raises HistoryError as above."""
    raise NotImplementedError
