"""Drawn leaves: pictures of three labels, two of which begin with the same word, and some too dark to tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from consilience.core.task import Label, Task

TASK = Task(
    domain="drawn leaf",
    labels=(
        Label(name="healthy"),
        Label(name="leaf rust", descriptions=("small orange spots",), synonyms=("rust",)),
        Label(name="leaf scab", descriptions=("large dark patches",), synonyms=("scab",)),
    ),
)

SIDE = 112


def draw(label: str, number: int, clarity: float | None = None) -> PIL.Image.Image:
    """Draw a leaf (112 x 112) with the marks of its label, the same for the same number.

    Args:
        clarity: of the marks, in (0, 1]; default: from 0.5 to 1 by the number. 0: a picture as dark as night.
    """
    rng = np.random.default_rng([TASK.names.index(label), number])
    leaf = rng.integers((60, 110, 30), (110, 170, 70)).astype(float)
    if clarity is None:
        clarity = rng.uniform(0.5, 1.0)
    image = PIL.Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in rng.integers(190, 250, 3)))
    pen = PIL.ImageDraw.Draw(image)
    pen.ellipse([int(value) for value in rng.integers((0, 0, 98, 98), (14, 14, 112, 112))], fill=_colour(leaf))
    if label != "healthy":
        mark, sizes, how_many = ((230, 120, 20), (4, 8), 12) if label == "leaf rust" else ((30, 25, 20), (10, 17), 5)
        fill = _colour(leaf + clarity * (np.array(mark) - leaf))
        for x, y, radius in rng.integers((28, 28, sizes[0]), (84, 84, sizes[1]), (how_many, 3)).tolist():
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    pixels = np.asarray(image, dtype=float) + rng.normal(0, 5, (SIDE, SIDE, 3))
    return PIL.Image.fromarray((pixels if clarity else pixels * 0.04).clip(0, 255).astype(np.uint8))


def save(folder: Path, numbers: range) -> Path:
    """Write a labelled folder of drawn leaves."""
    for label in TASK.names:
        (folder / label).mkdir(parents=True)
        for number in numbers:
            draw(label, number).save(folder / label / f"{label}-{number}.png")
    return folder


def _colour(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values.clip(0, 255))
