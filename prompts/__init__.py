"""Every word that is sent to a model, as templates with a name and a version."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from consilience.task import Task


@cache
def _zero_shot_templates() -> tuple[str, ...]:
    data = yaml.safe_load((files("consilience.prompts") / "zero-shot.yaml").read_text(encoding="utf-8"))
    return tuple(data["texts"])


def zero_shot_texts(task: Task) -> list[list[str]]:
    """For each label of the task the texts that describe an image of it to a text tower.

    >>> zero_shot_texts(Task.from_labels(["rust", "scab"], domain="apple leaf"))[0][:2]
    ['a photo of rust.', 'a photo of rust, apple leaf.']
    """
    return [
        [
            *(template.format(label=name, domain=task.domain) for template in _zero_shot_templates() for name in names),
            *label.descriptions,
        ]
        for label in task.labels
        for names in [[label.name.replace("-", " ").replace("_", " "), *label.synonyms]]
    ]
