"""The question that a panel answers: a domain, its labels, and what each label looks like."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from consilience.core.errors import TaskError
from consilience.core.storage.yaml_file import as_yaml, read_yaml_mapping

NONE_OF_THESE = " none of these"
"""Stands where a label would: the answer that an image shows none of a task's labels. No label can be called so, not
even one called "none of these": names of labels do not begin with a blank."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


def plain(text: str) -> str:
    """Return the form in which two spellings of a label count as equal: NFKC, case-folded, `_` and `-` as space.

    >>> plain(" Apple_Scab ")
    'apple scab'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = folded.replace("_", " ").replace("-", " ").split()
    return " ".join(words or folded.split())  # '-' is a label, too


class Label(BaseModel):
    """One possible answer to a task.

    Attributes:
        name: as it stands in folders, reports and results.
        descriptions: what an image of it shows, in words; zero-shot agents read these.
        synonyms: other names under which an agent may mean it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    descriptions: tuple[Text, ...] = ()
    synonyms: tuple[Text, ...] = ()


class PromptOverride(BaseModel):
    """Texts that a task puts in the place of some texts of a prompt.

    Attributes:
        version: version of these texts; raise it with every change: it is part of each prediction and of the cache key.
        texts: the texts that differ, by name; they insert the variables of those that they replace.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int | Text
    texts: dict[str, str] = Field(min_length=1)


class Task(BaseModel):
    """The question that a panel answers: a domain, at least two labels, and texts of its own for prompts.

    Attributes:
        domain: what the images show, such as "apple leaf".
        labels: the possible answers, in the order of every probability vector.
        prompts: texts of its own by the name of the prompt; usually empty.

    >>> task = Task.from_labels(["healthy", "scab"], domain="apple leaf")
    >>> task.names
    ('healthy', 'scab')
    >>> task.find(" Scab ")
    'scab'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: Text = "image"
    labels: tuple[Label, ...] = Field(min_length=2)
    prompts: dict[str, PromptOverride] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _spellings_are_distinct(self) -> Task:
        owner: dict[str, str] = {}
        for label in self.labels:
            for spelling in {plain(label.name), *map(plain, label.synonyms)}:
                if spelling in owner:
                    raise ValueError(f"'{spelling}' stands for both '{owner[spelling]}' and '{label.name}'")
                owner[spelling] = label.name
        return self

    @classmethod
    def from_labels(cls, names: Sequence[str], domain: str = "image") -> Task:
        """Return a task whose labels have only names.

        Raises:
            TaskError: there are fewer than two names, or two are spelled alike.
        """
        return _validated({"domain": domain, "labels": [{"name": name} for name in names]}, "the labels")

    @staticmethod
    def label(name: str, descriptions: Sequence[str] = (), synonyms: Sequence[str] = ()) -> Label:
        """Return a label.

        Raises:
            TaskError: a text is empty or longer than 2,000 characters.
        """
        try:
            return Label(name=name, descriptions=tuple(descriptions), synonyms=tuple(synonyms))
        except ValidationError as cause:
            raise TaskError(f"'{name[:80]}' is no valid label: {cause.errors()[0]['msg']}") from cause

    @classmethod
    def from_file(cls, path: str | Path) -> Task:
        """Return the task in a YAML file: `domain`, `labels` (names or `{name, descriptions, synonyms}`), `prompts`.

        Raises:
            TaskError: the file cannot be read, is not such a file, or names a key that does not exist or stands twice.
        """
        origin = f"the task file '{path}'"
        try:
            data = read_yaml_mapping(path)
        except ValueError as cause:
            raise TaskError(f"{origin} {cause}") from cause
        if isinstance(labels := data.get("labels"), list):
            for label in labels:
                if not isinstance(label, (str, dict)):  # YAML takes 1, no and 2024-05-01 for something else than text
                    raise TaskError(f"{origin}: the label {label} must be text; put it in quotes")
            data["labels"] = [{"name": label} if isinstance(label, str) else label for label in labels]
        return _validated(data, origin)

    @property
    def names(self) -> tuple[str, ...]:
        """Label names in the task's order: the order of every probability vector."""
        return tuple(label.name for label in self.labels)

    def find(self, text: str) -> str | None:
        """Return the name of the label that `text` means, by name or synonym, in any case; None if there is none."""
        wanted = plain(text)
        for label in self.labels:
            if wanted == plain(label.name) or wanted in map(plain, label.synonyms):
                return label.name
        return None

    def with_label(self, label: Label) -> Task:
        """Return the task with one more label, at the end.

        Raises:
            TaskError: its name or a synonym is spelled like a label that is there.
        """
        for text in (label.name, *label.synonyms):
            if (own := self.find(text)) is not None:
                raise TaskError(f"'{text}' is the label '{own}' already: add images to it, or name it otherwise")
        data = self.model_dump()
        return _validated({**data, "labels": [*data["labels"], label.model_dump()]}, f"the label '{label.name}'")

    def to_yaml(self) -> str:
        """Return the task as YAML, which `from_file` reads."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return as_yaml({"domain": self.domain, **data})


def _validated(data: dict[str, object], origin: str) -> Task:
    try:
        return Task.model_validate(data)
    except ValidationError as cause:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'task'}: {error['msg']}" for error in cause.errors()
        )
        raise TaskError(f"no valid task in {origin}: {problems}") from cause
