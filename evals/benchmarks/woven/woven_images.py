"""Images of woven cloth with small defects, made: what a whole image at 224 pixels hardly shows.

A cloth has a weave, threads of a thickness and of two colours, a turn, and a light; each shows once sound and once with
each defect, in other places and lights, so that nothing but the defect tells the labels apart. The threads are round,
rise and sink where they cross, wander a little, and differ a little in colour, as threads do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from consilience.core.pixels import Pixels

SIDE = 512
"""Of an image, in pixels."""

LABELS = ("sound", "broken", "doubled", "missing")

AREA = 0.01, 0.03
"""Least and greatest share of the image's area that a defect covers."""

PITCHES = 6.0, 14.0
"""Least and greatest distance of two threads, in pixels."""

WEAVES = {
    "plain": ((1, 0), (0, 1)),
    "twill": ((1, 1, 0, 0), (0, 1, 1, 0), (0, 0, 1, 1), (1, 0, 0, 1)),
    "drill": ((1, 1, 0), (0, 1, 1), (1, 0, 1)),
    "satin": tuple(tuple(int((column - 2 * row) % 5 != 0) for column in range(5)) for row in range(5)),
    "basket": ((1, 1, 0, 0), (1, 1, 0, 0), (0, 0, 1, 1), (0, 0, 1, 1)),
}
"""Of each weave the part that repeats: 1 where the upright thread lies on top."""

GROUND = -1.2
"""Height of what lies below the cloth; threads lie between -1 and 1."""

Plane = NDArray[np.float32]
"""Numbers for each pixel, (height, width)."""


@dataclass(frozen=True)
class Cloth:
    """What all images of one cloth share.

    Attributes:
        weave: 1 where the upright thread lies on top, int (rows, columns).
        pitch: distance of two threads, in pixels. fill: thickness of a thread over it.
        turn: of the threads, in radians.
        colours: of upright and level threads, (2, 3), in [0, 255].
    """

    weave: NDArray[np.int_]
    pitch: float
    fill: float
    turn: float
    colours: NDArray[np.float64]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Cloth:
        """Return a random cloth."""
        weave = np.array(WEAVES[str(rng.choice([*WEAVES]))])
        base = rng.uniform(70, 210, 3)
        colours = np.clip(base + rng.normal(0, 18, (2, 3)), 40, 235)
        return cls(weave, rng.uniform(*PITCHES), rng.uniform(0.8, 1.0), rng.uniform(-0.2, 0.2), colours)


def cloths(count: int, seed: int) -> Iterator[dict[str, Pixels]]:
    """Yield, for each of `count` cloths, an image a label."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        cloth = Cloth.drawn(rng)
        yield {label: woven(cloth, label, rng) for label in LABELS}


def woven(cloth: Cloth, label: str, rng: np.random.Generator) -> Pixels:
    """Return an image of a cloth with the defect that `label` names, uint8 (SIDE, SIDE, 3)."""
    across, along = thread_places(cloth, rng)
    column, row = np.floor(across).astype(np.intp), np.floor(along).astype(np.intp)
    upright_defect, level_defect = None, None
    if rng.random() < 0.5:
        upright_defect = drawn_defect(cloth, label, across, along, rng)
    else:
        level_defect = drawn_defect(cloth, label, along, across, rng)
    upright = _height(cloth.weave, cloth.fill, across, along, upright_defect)
    level = _height(1 - cloth.weave.T, cloth.fill, along, across, level_defect)
    layers = np.stack([upright, level, np.full_like(upright, GROUND)])
    top = layers.argmax(axis=0)
    shade = _shade(layers.max(axis=0), cloth.pitch, rng)
    tints = rng.normal(1, 0.04, (2, 4 * SIDE)).astype(np.float32)  # of each thread
    tint = np.stack([tints[0][column], tints[1][row], np.full_like(shade, 0.25)])
    colours = np.concatenate([cloth.colours, cloth.colours.mean(axis=0, keepdims=True)]).astype(np.float32)
    light = shade * np.take_along_axis(tint, top[None], axis=0)[0]
    pixels = colours[top] * light[..., None] + 4 * rng.standard_normal((SIDE, SIDE, 3), np.float32)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


def thread_places(cloth: Cloth, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return where each pixel lies, counted in upright and in level threads; threads wander by a part of one."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    turn = cloth.turn + rng.normal(0, 0.02)
    cosine, sine = float(np.cos(turn)) / cloth.pitch, float(np.sin(turn)) / cloth.pitch
    across, along = columns * cosine - rows * sine, columns * sine + rows * cosine
    for _ in range(3):
        waves, phase = rng.uniform(-0.03, 0.03, 2).tolist(), rng.uniform(0, 2 * np.pi, 2).tolist()
        across, along = (
            across + 0.12 * np.sin(waves[0] * columns + waves[1] * rows + phase[0]),
            along + 0.12 * np.sin(waves[1] * columns - waves[0] * rows + phase[1]),
        )
    return across + SIDE, along + SIDE  # above 0 wherever the turn leads


@dataclass(frozen=True)
class Defect:
    """What is wrong with some threads.

    Attributes:
        label: one of LABELS. first: number of the first of its threads.
        of: the pixels that it covers, bool (SIDE, SIDE).
    """

    label: str
    first: int
    of: NDArray[np.bool_]


def drawn_defect(cloth: Cloth, label: str, across: Plane, along: Plane, rng: np.random.Generator) -> Defect | None:
    """Return a defect of threads that are counted in `across`, at a random place; None where the label is none."""
    if label == "sound":
        return None
    area = rng.uniform(*AREA) * SIDE**2 / cloth.pitch**2  # in cells of one thread by one
    longest = 0.9 * SIDE / cloth.pitch
    if label == "broken":  # several, four times as long as they are broad together
        threads = max(2, round(np.sqrt(area) / 2))
    else:
        threads = max(2 if label == "doubled" else 1, ceil(area / longest))
    length = area / threads
    middle = SIDE // 2
    reach = (SIDE / cloth.pitch - np.array([threads, length])).clip(0) / 2 * 0.9
    first = int(np.floor(across[middle, middle] + rng.uniform(-1, 1) * reach[0] - threads / 2))
    start = along[middle, middle] + rng.uniform(-1, 1) * reach[1] - length / 2
    ends = rng.uniform(-1.5, 1.5, (2, 4 * SIDE)) * (label == "broken")  # torn: no two threads at the same place
    number = np.floor(across).astype(np.intp)
    inside = (number >= first) & (number < first + threads)
    inside &= (along >= start + ends[0][number]) & (along < start + length + ends[1][number])
    return Defect(label, first, inside)


def _height(weave: NDArray[np.int_], fill: float, across: Plane, along: Plane, defect: Defect | None) -> Plane:
    """Return the height of the threads that are counted in `across`: about -1 to 1, and -2 where there is none.

    Args:
        weave: 1 where such a thread lies on top, int (along, across). fill: see `Cloth`.
    """
    number, place = np.floor(across).astype(np.intp), across - np.floor(across)
    if defect is not None and defect.label == "doubled":  # runs over and under as its neighbour does
        odd = (number - defect.first) % 2 == 1
        number = np.where(defect.of & odd, number - 1, number)
    step, between = np.floor(along - 0.5).astype(np.intp), (along - 0.5) % 1.0
    (rows, columns), signs = weave.shape, (2 * weave - 1).astype(np.float32)
    here, there = (signs[each % rows, number % columns] for each in (step, step + 1))
    rise = here + (there - here) * (1 - np.cos(np.pi * between)) / 2
    offset = (2 * place - 1) / fill
    height = np.where(np.abs(offset) < 1, 0.6 * rise + np.sqrt((1 - offset**2).clip(0)) - 1, np.float32(-2))
    if defect is not None and defect.label in ("broken", "missing"):
        height[defect.of] = -2
    return height


def _shade(height: Plane, pitch: float, rng: np.random.Generator) -> Plane:
    """Return how bright each pixel is under a slanting light that falls off to one side."""
    downwards, sideways = np.gradient(height * pitch / 3)
    direction, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5)
    slant = float(np.cos(direction)) * downwards + float(np.sin(direction)) * sideways
    way, fall, place = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3), np.linspace(-1, 1, SIDE, dtype=np.float32)
    falling = 1 + fall * float(np.cos(way)) * place[:, None] + fall * float(np.sin(way)) * place
    depth = 0.75 + 0.25 * np.clip(height + 1, 0, 1)
    return np.asarray(rng.uniform(0.7, 1.2) * falling * depth * (1 + strength * np.tanh(slant)), np.float32)
