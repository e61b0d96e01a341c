"""What the tiny model is taught: messages as a vision-language agent sends them, and the right answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.agents.vlm.conversation import Message, first_messages, second_messages
from consilience.agents.vlm.label_answer import UNSURE
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import Image, load_image
from consilience.core.prediction import Prediction, Stage
from consilience.core.task import Task
from consilience.prompts import load_prompt
from tests.support.qwen import leaves

SIDE, CASE_SIDE = leaves.SIDE, 56
"""Longer side in pixels of the image and of a similar case: what the tests' settings must say, too."""


@dataclass(frozen=True)
class Lesson:
    """A conversation and the answer that is to follow."""

    messages: list[Message]
    answer: str

    def bare(self) -> Lesson:
        """The picture and the answer, without words."""
        return Lesson([Message("user", self.messages[1].parts[:1])], self.answer)


@dataclass(frozen=True)
class Case:
    """A picture with all that belongs to a first and a second look at it.

    Attributes:
        label: what it shows.
        clarity: of its marks, in [0, 1]; 0: too dark to tell.
        first: what was said at first, often wrongly.
        evidence: similar cases, most of them of its label; all of them where the picture is too dark to tell.
    """

    image: Image
    label: str
    clarity: float
    first: Prediction
    evidence: Evidence


DARK = {"first": 0.1, "second": 0.4}
"""Share of pictures too dark to tell. Of second looks they are many: only there must the cases be read."""


class Course:
    """Pictures of one task: `picture(label, is_dark, rng)` gives one and the clarity of its marks."""

    def __init__(self, task: Task, picture: Callable[[str, bool, random.Random], tuple[Image, float]]) -> None:
        self.task = task
        self.picture = picture

    def case(self, rng: random.Random, stage: Stage) -> Case:
        label = rng.choice(self.task.names)
        image, clarity = self.picture(label, rng.random() < DARK[stage], rng)
        evidence = self._evidence(label, 1.0 if clarity == 0 else 0.85, rng)
        return Case(image, label, clarity, self._first(label, rng), evidence)

    def lesson(self, rng: random.Random, label_only: bool, again: bool) -> Lesson:
        task, case = self.task, self.case(rng, "second" if again else "first")
        messages = first_messages(load_prompt("look", task), task, case.image, SIDE, label_only)
        if not again:
            answer = case.label if case.clarity else UNSURE
            return Lesson(messages, answer if label_only else _json(answer, case.clarity))
        prompt, shown = load_prompt("second-look", task), len(case.evidence.neighbours)
        messages += second_messages(prompt, case.first, case.evidence, shown, CASE_SIDE, label_only)
        return Lesson(messages, case.label if label_only else _json(case.label, case.clarity or 1.0))

    def _first(self, label: str, rng: random.Random) -> Prediction:
        """A first answer, which was right three times in five or so."""
        guess = label if rng.random() < 0.5 else rng.choice(self.task.names)
        confidence = rng.choice((0.6, 0.95))
        rest = (1 - confidence) / (len(self.task.names) - 1)
        shares = {name: confidence if name == guess else rest for name in self.task.names}
        return Prediction("student", probabilities=shares, rationale=_reason(guess))

    def _evidence(self, label: str, of_it: float, rng: random.Random) -> Evidence:
        """Up to four cases; each is of the image's own label by the chance `of_it`, else of any."""
        neighbours, pictures = [], {}
        for number in range(rng.randint(1, 4)):
            of = label if rng.random() < of_it else rng.choice(self.task.names)
            image, _ = self.picture(of, False, rng)
            pictures[str(number)] = image.thumbnail(CASE_SIDE)
            neighbours.append(Neighbour(str(number), of, rng.uniform(0.8, 0.99), "", pictures.get))
        labels = [neighbour.label for neighbour in neighbours]
        return Evidence(tuple(neighbours), {name: labels.count(name) / len(labels) for name in self.task.names})


def drawn() -> Course:
    """Return leaves that no test draws: tests number theirs from 0."""

    def picture(label: str, is_dark: bool, rng: random.Random) -> tuple[Image, float]:
        number, clarity = rng.randrange(10**6, 10**9), 0.0 if is_dark else rng.uniform(0.5, 1.0)
        image = Image.from_pixels(np.asarray(leaves.draw(label, number, clarity)), f"leaf-{number}")
        return image, 1.0 if clarity and label == "healthy" else clarity  # it has no marks that could be unclear

    return Course(leaves.TASK, picture)


def photographed(folder: Path) -> Course:
    """Return the leaves of a labelled folder, none of them dark."""
    paths = {
        label_folder.name: sorted(label_folder.iterdir())
        for label_folder in sorted(folder.iterdir())
        if label_folder.is_dir()
    }
    loaded: dict[Path, Image] = {}

    def picture(label: str, is_dark: bool, rng: random.Random) -> tuple[Image, float]:
        path = rng.choice(paths[label])
        if path not in loaded:
            loaded[path] = load_image(path)
        return loaded[path], 1.0

    return Course(Task.from_labels([*paths], domain="apple leaf"), picture)


def _reason(label: str) -> str:
    return "too dark" if label == UNSURE else f"looks like {label}"


def _json(label: str, clarity: float) -> str:
    confidence = 0.95 if clarity > 0.7 else 0.6
    answer = {"rationale": _reason(label), "label": label, "confidence": confidence}
    return json.dumps(answer, separators=(",", ":"))  # the form that vLLM's grammar allows
