"""Drawn shapes that a panel can be fitted on in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

LABELS = ("circle", "square", "stripes")
EACH = 14


def draw(label: str, number: int) -> PIL.Image.Image:
    """Draw a shape of its label's form and colour, at a random place on noise; the same for the same number."""
    rng = np.random.default_rng([LABELS.index(label), number])
    image = PIL.Image.fromarray(rng.integers(60, 120, (96, 96, 3), dtype=np.uint8))
    pen = PIL.ImageDraw.Draw(image)
    x, y, size = (int(value) for value in rng.integers((5, 5, 40), (35, 35, 55)))
    if label == "circle":
        pen.ellipse((x, y, x + size, y + size), fill=(200, 40, 40))
    elif label == "square":
        pen.rectangle((x, y, x + size, y + size), fill=(40, 60, 200))
    else:
        for step in range(0, size, 8):
            pen.line((x, y + step, x + size, y + step), fill=(240, 230, 60), width=4)
    return image


def draw_all(folder: Path) -> Path:
    """Write a labelled folder, half PNG and half JPEG."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(EACH):
            draw(label, number).save(folder / label / f"{label}-{number:02}{('.png', '.jpg')[number % 2]}")
    return folder
