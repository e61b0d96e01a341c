"""What agents answered about images: the records, and what every source of them offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consilience.core.prediction import Stage


@dataclass(frozen=True, slots=True)
class Answer:
    """What one agent said of one image, as it is written.

    Attributes:
        agent, stage: whose look it is.
        label: the label that it named, which need not be one of the task's; empty if it gave none.
        confidence: that it stated, in [0, 1]; None if it stated none.
        shares: probability by label; they sum to 1. None where only a label is known.
    """

    agent: str
    stage: Stage = "first"
    label: str = ""
    confidence: float | None = None
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """An image of which answers are known, and no pixels.

    Attributes:
        name: what tells the images apart.
        answers: of those that were asked, first looks and second looks.
        truth: its true label, in the spelling of its first row; None where it is not known.
        group: the name of the thing that it shows; None where it is not known.
        row: where it first stands, from 1.
    """

    name: str
    answers: tuple[Answer, ...]
    truth: str | None = None
    group: str | None = None
    row: int = 0


class AnswerSource(ABC):
    """Answers of agents, image by image.

    Attributes:
        name: how messages call it.
        agents: in order; of which first looks are known.
        revising: those of which second looks are known, too.
        label_sets: the sets of labels of which there are probabilities, as written; empty where labels are named alone.
        truths: images by true label, each label in one spelling.
    """

    name: str
    agents: Sequence[str]
    revising: Sequence[str]
    label_sets: Sequence[tuple[str, ...]]
    truths: Mapping[str, int]

    @abstractmethod
    def images(self) -> Iterator[AnsweredImage]:
        """Yield the images in the order in which they first stand."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many images there are."""
