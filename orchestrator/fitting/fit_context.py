"""What every step of a fit needs: the task, the labelled images, and how agents look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from consilience.agents import Agent, LabelledFeatures
from consilience.core.images import Image
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import Settings
from consilience.core.task import Task
from consilience.retrieval.memory.labelled_images import LabelledImages


@dataclass(frozen=True)
class FitContext:
    """What the steps of a fit share.

    Attributes:
        task: names the c labels.
        labelled_images: the n images that agents are fitted on and judged by.
        data: their features, labels and texts, in the same order.
        neighbours: how many similar images the evidence of a second look holds.
        seed: decides which image is in which fold.
        others: agents that need no fitting; they look at every labelled image.
        load: loads an image from its source; None where only its vector is known.
        timeout_seconds: how long one of the others may take for each image.
        progress: is told how far the work is.
    """

    task: Task
    labelled_images: LabelledImages
    data: LabelledFeatures
    neighbours: int
    seed: int
    others: Sequence[Agent] = ()
    load: Callable[[str], Image] | None = None
    timeout_seconds: float = 120.0
    progress: Progress = quiet

    @classmethod
    def of(
        cls,
        task: Task,
        labelled_images: LabelledImages,
        data: LabelledFeatures,
        settings: Settings,
        *,
        others: Sequence[Agent] = (),
        load: Callable[[str], Image] | None = None,
        progress: Progress = quiet,
    ) -> Self:
        """Return the context with what the settings say of neighbours, seed and timeout."""
        return cls(
            task,
            labelled_images,
            data,
            settings.memory.neighbours,
            settings.seed,
            others,
            load,
            settings.policy.agent_timeout_seconds,
            progress,
        )
