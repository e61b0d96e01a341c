"""Turns a labelled folder into training examples, with some images held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.agents.finetune.training_example import TrainingExample, training_example
from consilience.core.diagnosis import FailedImage
from consilience.core.errors import DatasetError, ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image
from consilience.core.sources.labelled_source import read_labelled_source
from consilience.core.sources.stored import openable
from consilience.core.task import Task


@dataclass(frozen=True)
class TrainingSet:
    """The training examples of a labelled folder.

    Attributes:
        task: the question.
        training: examples to learn from.
        held_out: examples to judge by; none of their images is in `training`.
        failed: images that cannot be read.
    """

    task: Task
    training: tuple[TrainingExample, ...]
    held_out: tuple[TrainingExample, ...]
    failed: tuple[FailedImage, ...]


def training_set_of(
    folder: Path,
    task: Task | None,
    *,
    side: int,
    label_only: bool,
    share: float,
    seed: int,
    limits: ImageLimits,
    progress: Callable[[str, int, int], None],
) -> TrainingSet:
    """Read a labelled folder into training examples. An image that comes twice is taken once.

    Args:
        folder: one folder of images a label, or a manifest, whose groups stay together.
        task: the question; None: its labels are the folder's.
        side: images are shown with their longer side at most this many pixels.
        label_only: whether the answers are labels alone, as for `confidence: logprob`, or our JSON form.
        share: of each label's images, in [0, 1), is held out.
        seed: decides which.
        limits: what images may be read.
        progress: called after each image with what is being done, the images read, and their number.

    Raises:
        DatasetError: the folder cannot be used, an image has two labels, or a label has too few images to hold any
            out.
    """
    read = read_labelled_source(folder, task, follow_links=limits.follow_links)
    task = task or Task.from_labels(read.labels)
    examples: dict[str, TrainingExample] = {}
    groups: dict[str, str] = {}
    failed: list[FailedImage] = []
    for number, file in enumerate(read.images, start=1):
        try:
            image = load_image(openable(file.path) if isinstance(file.path, str) else file.path, limits)
        except ImageError as error:
            failed.append(FailedImage(str(file.path), error))
        else:
            first = examples.setdefault(image.identity, training_example(task, image, file.label, side, label_only))
            groups.setdefault(image.identity, file.group or image.identity)
            if first.label != file.label:
                raise DatasetError(
                    f"'{file.path}' is labelled '{file.label}' here and '{first.label}' elsewhere; "
                    "remove it from one of them"
                )
        progress("reading images", number, len(read.images))
    held = held_out_rows([example.label for example in examples.values()], share, seed, [*groups.values()])
    training = tuple(example for row, example in enumerate(examples.values()) if row not in held)
    return TrainingSet(
        task, training, tuple(example for row, example in enumerate(examples.values()) if row in held), tuple(failed)
    )


def held_out_rows(labels: Sequence[str], share: float, seed: int, groups: Sequence[str]) -> frozenset[int]:
    """Return the rows to hold out: about `share` of each label's, at least one unless the share is 0; drawn by `seed`.

    The images of a group are held out together; `groups` are names, one an image.

    Raises:
        DatasetError: nothing of a label would be left to learn from.
    """
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for label in dict.fromkeys(labels):
        sizes = Counter(group for group, other in zip(groups, labels, strict=True) if other == label)
        number = max(1, round(share * sizes.total())) if share else 0
        if number >= sizes.total() or (number and len(sizes) < 2):
            raise DatasetError(
                f"'{label}' has {sizes.total()} usable images of {len(sizes)} things, too few to hold out {share:.0%}; "
                "give more"
            )
        names, taken = [*sizes], 0
        for place in rng.permutation(len(names))[:-1]:  # one is left to learn from
            if taken < number:
                held.add(names[place])
                taken += sizes[names[place]]
    rows = frozenset(row for row, group in enumerate(groups) if group in held)
    if missing := set(labels) - {label for row, label in enumerate(labels) if row not in rows}:
        raise DatasetError(
            f"'{min(missing)}' has images only in groups that are held out with other labels; give more of it"
        )
    return rows
