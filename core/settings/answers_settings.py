"""Settings of the kind `answers`: an agent that has answered already, whose answers stand in a table."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from consilience.core.settings.settings_group import SettingsGroup


class AnswersSettings(SettingsGroup):
    """Settings of one agent of a table of answers, which are found by the path of an image.

    Raises:
        ValueError: a setting is unknown or out of range.
    """

    AGENT: ClassVar[str] = "consilience.agents.answers_beside:AnswersBeside"
    REACH: ClassVar[frozenset[str]] = frozenset({"path", "images"})
    """As `LookSettings.REACH`: another table may hold its answers to other images."""

    kind: Literal["answers"] = Field(default="answers", description="answers that exist already, in a table")
    name: str = Field(min_length=1, max_length=100, description="the agent, as the table calls it")
    path: Path = Field(description="the table: .csv, .parquet or .jsonl")
    images: Path | None = Field(
        default=None,
        description="the folder below which the images lie; one that lies elsewhere must be named by its whole path; "
        "none: the end of an image's path is enough",
    )

    @property
    def place(self) -> str:
        """Where the answers stand: the path of the table."""
        return str(self.path)
