"""An agent that has answered already: its answers to images that are there stand in a table, by path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ValidationError

from consilience.agents.base import AgentInput
from consilience.agents.recorded import AnswerReader
from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.core.errors import DatasetError
from consilience.core.evidence import Evidence
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from consilience.core.settings.answers_settings import AnswersSettings
from consilience.core.settings.model_kinds import ModelSettings
from consilience.core.settings.settings import Settings
from consilience.core.sources.answers_by_path import AnswersByPath
from consilience.core.sources.table_file import TableFile, is_table
from consilience.core.task import Task


class AnswersBeside:
    """Says of an image what its agent answered. Where the table says nothing, the prediction has failed."""

    can_revise: ClassVar[bool] = False

    def __init__(self, settings: AnswersSettings) -> None:
        self.settings = settings
        self._reader: tuple[Task, AnswerReader] | None = None

    @classmethod
    def open(cls, settings: AnswersSettings, cache: ReplyCache | None, budget: Budget) -> Self:
        """Return the agent; its table is read when it is first asked."""
        return cls(settings)

    @property
    def name(self) -> str:
        """The agent, as the table calls it."""
        return self.settings.name

    @cached_property
    def answers(self) -> AnswersByPath:
        """The table, which all its agents share. Raises DatasetError: it cannot be used."""
        return _opened(self.settings.path)

    def reader(self, task: Task) -> AnswerReader:
        """Return what reads the answers. Raises DatasetError: they have probabilities of other labels than a task's."""
        if self._reader is None or self._reader[0] is not task:
            self._reader = task, AnswerReader(task, self.answers.table)
        return self._reader[1]

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        """Return the answer to each image; a failed prediction, with what is missing, where there is none."""
        try:
            reader = self.reader(inputs.task)
        except DatasetError as cause:  # of a panel that came without its table; it goes on without this agent
            return [Prediction(self.name, error=str(cause))] * len(inputs)
        return [self._answer(image, reader) for image in inputs.images]

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        """Raise TypeError: what has been answered cannot be asked again."""
        raise TypeError(f"'{self.name}' has no second look")

    def _answer(self, image: Image | None, reader: AnswerReader) -> Prediction:
        known = None if image is None else self.answers.find(image.source, self.settings.images)
        said = () if known is None else known.answers
        for answer in said:
            if answer.agent == self.name and answer.stage == "first":
                return reader.prediction(self.name, "first", answer)
        # one text for all images: causes are counted
        missing = f"{self.settings.path.name} has no answer of '{self.name}' for this image"
        return Prediction(self.name, error=missing)


def with_answers(
    settings: Settings, answers: str | Path, panel: Iterable[ModelSettings] | None = None, images: Path | None = None
) -> Settings:
    """Return settings with the agents of a table of answers among the models.

    Args:
        settings: the others.
        answers: the table.
        panel: the models of the panel that is used: its agents alone count. None: one is to be fitted, and all do.
        images: the folder of the images, as in `AnswersSettings`.

    Raises:
        DatasetError: the table cannot be used, or the panel knows none of its agents; names the row.
    """
    path = Path(os.path.abspath(answers))
    table, set_up = _opened(path).table, {model.name for model in settings.models}
    known = None if panel is None else [model.name for model in panel if isinstance(model, AnswersSettings)]
    names = [name for name in table.agents if known is None or name in known]
    if known is None and (twice := set_up & set(names)):
        raise DatasetError(f"{table.name}: a model of the settings is called '{twice.pop()}', too; rename one of them")
    if not names:
        there = f"those that it has are of {', '.join(known)}" if known else "it has none of that kind"
        raise DatasetError(
            f"{table.name} are of {', '.join(table.agents)}, and the panel was not fitted on their answers beside "
            f"images: {there}"
        )
    try:
        own = [AnswersSettings(name=name, path=path, images=images) for name in names]
    except ValidationError as cause:
        raise DatasetError(f"{table.name}: the name of an agent is longer than 100 characters; shorten it") from cause
    others = [model for model in settings.models if model.name not in names]
    return settings.model_copy(update={"models": (*others, *own)})


def answers_fingerprint(answers: str | Path) -> str:
    """Return the SHA-256 of a table of answers. Raises DatasetError: it cannot be read, or is no table."""
    path = Path(answers)
    if not is_table(path) or (path.exists() and not path.is_file()):  # a pipe could block, a device never end
        raise DatasetError(f"the answers '{path}' are no file .csv, .parquet or .jsonl; name the table")
    return TableFile(path, "the answers").fingerprint()


def _opened(path: Path) -> AnswersByPath:
    """Return a table, read once for all of its agents, until the file changes."""
    return _read(path, answers_fingerprint(path))


@lru_cache(2)
def _read(path: Path, fingerprint: str) -> AnswersByPath:
    return AnswersByPath(path)
