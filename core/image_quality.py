"""Whether an image can be judged at all, beside the images that a panel knows: dark, bright, blank, blurred, cut, ...

A few numbers are measured of each image (`measured`). No number is good or bad by itself: what a panel of X-rays or of
photos by night calls usual comes from its own images. Its bounds lie beyond their extremes by a quarter of the way from
the median to the extreme, and at least by what is just worth mentioning (`Measure.least`): an image half as bright as
the darkest known one can still be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image

from consilience.core.pixels import Pixels

Measures: TypeAlias = npt.NDArray[np.float32]

SMALL = 96
"""Pixels of the longer side at which light, contrast, sharpness and margins are measured: noise and the size of the
file do not count there."""

LARGE = 1024
"""Pixels of the longer side, about, at which runs of equal pixels are counted."""

RUN = 8
"""Equal neighbours in a row that make a run; camera noise leaves few."""

TAIL = 0.001
"""Share of the known images that may lie beyond what counts as their extreme: of very many, some are spoilt."""

SPREAD = 0.25
"""Share of the way from median to extreme that is added to the extreme."""

FEW = 5.0
"""Of n images this share of n more is added: few images do not show their extremes."""


@dataclass(frozen=True)
class Measure:
    """One number of an image; the higher, the less it can be judged.

    Attributes:
        reason: what is said beyond the bound, with what to do.
        least: by how much the bound lies beyond the known images at least.
    """

    reason: str
    least: float


_TWICE = float(np.log(2.0))

MEASURES = {
    "blankness": Measure("Blank: there is nothing to judge, check camera and file", _TWICE),
    "darkness": Measure("Too dark to judge: take it again in daylight, or with more light", _TWICE),
    "brightness": Measure("Too bright to judge: take it again with less light", _TWICE),
    "clipping": Measure("Too bright to judge: take it again with less light", 0.1),
    "missing": Measure("Cut off or only partly loaded: take it again, or copy the file again", 0.1),
    "smallness": Measure("Too small to judge: use the original, not a thumbnail", float(np.log(3.0))),
    "blur": Measure("Too blurred to judge: take it again, in focus and with a steady hand", 2.0 * _TWICE),
    "drawn": Measure("Drawn or a screenshot, no photograph like the known images: use the photograph itself", 0.1),
}
"""By name, in the order of what `measured` returns."""


def measured(pixels: Pixels) -> Measures:
    """Return the measures of an image, float32 (k,), in the order of MEASURES.

    blankness   - log of contrast (standard deviation of luminance) relative to the bright parts
    darkness    - log of the luminance that 5 % of the image exceed
    brightness  - log of how far from white the luminance lies that 25 % exceed
    clipping    share of the image that is white
    missing     greatest share of the image, from one side, that has one luminance; 0 where all has: that is blank
    smallness   - log of the shorter side in pixels
    blur        - log of the variance of the Laplacian (Pech-Pacheco et al. 2000), at SMALL pixels
    drawn       share of runs of equal pixels in what is not missing, times the share of edges along rows or columns

    Args:
        pixels: uint8 (height, width, 3), RGB.
    """
    picture = PIL.Image.fromarray(pixels)
    small = picture.reduce(max(1, max(picture.size) // (2 * SMALL))).convert("L")
    small.thumbnail((SMALL, SMALL), PIL.Image.Resampling.BOX, reducing_gap=None)
    light = np.asarray(small, dtype=np.float32)
    quarter, bright = np.percentile(light, [75, 95])
    contrast, missing = float(light.std()), _missing(light)
    return np.array(
        [
            np.log((bright + 10.0) / (contrast + 1.0)),
            -np.log(1.0 + bright),
            -np.log(256.0 - quarter),
            (light >= 250).mean(),
            missing,
            -np.log(min(pixels.shape[:2])),
            -np.log(1.0 + _laplacian(light)),
            max(0.0, _runs(pixels) - missing) / max(1.0 - missing, 0.01) * _aligned(light),
        ],
        dtype=np.float32,
    )


def _missing(light: Measures) -> float:
    """Return the greatest share of lines, from one side on, in which the luminance stays within 2 of 255."""
    shares = []
    for axis in (0, 1):
        is_uniform = np.ptp(light, axis=axis) <= 2.0
        if is_uniform.all() and np.ptp(light) <= 4.0:
            return 0.0
        length = len(is_uniform)
        shares += [
            (length if lines.all() else int(lines.argmin())) / length for lines in (is_uniform, is_uniform[::-1])
        ]
    return max(shares)


def _laplacian(light: Measures) -> float:
    """Return the variance of the Laplacian; 0 for less than 3 x 3 pixels."""
    if min(light.shape) < 3:
        return 0.0
    around = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    return float((4.0 * light[1:-1, 1:-1] - around).var())


def _runs(pixels: Pixels) -> float:
    """Return the share of places in 64 rows at which a run of pixels begins that differ by 1 at most.

    Pixels of large images are averaged along the rows, to at most about LARGE.
    """
    height, width = pixels.shape[:2]
    rows = pixels[:: max(1, height // 64)].astype(np.int16)
    if (wide := max(height, width) // LARGE) > 1 and width >= wide:
        rows = rows[:, : width // wide * wide].reshape(len(rows), -1, wide, 3).sum(axis=2) // wide
    is_close = np.abs(rows[:, 1:] - rows[:, :-1]) <= 1
    is_equal = is_close[:, :, 0] & is_close[:, :, 1] & is_close[:, :, 2]
    if is_equal.shape[1] < RUN:
        return 0.0
    count = np.cumsum(np.pad(is_equal, ((0, 0), (1, 0))), axis=1)
    return float((count[:, RUN:] - count[:, :-RUN] == RUN).mean())


def _aligned(light: Measures) -> float:
    """Return the share of edges, steps of more than 12 of 255, that run along rows or columns; 0 without edges."""
    down, across = np.abs(np.diff(light, axis=0))[:, :-1], np.abs(np.diff(light, axis=1))[:-1]
    steep, other = np.maximum(down, across), np.minimum(down, across)
    is_edge = steep > 12.0
    return float((other[is_edge] <= 0.1 * steep[is_edge]).mean()) if is_edge.any() else 0.0


@dataclass(frozen=True)
class QualityBounds:
    """What is usual among a panel's own images.

    Attributes:
        extreme: of each measure, the greatest value that counts as usual, (k,).
        margin: how far beyond it an image may lie, (k,), > 0.
    """

    extreme: npt.NDArray[np.float64]
    margin: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {self.extreme.shape, self.margin.shape}
        if shapes != {(len(MEASURES),)} or not (np.isfinite(self.extreme).all() and (self.margin > 0.0).all()):
            raise ValueError(f"bounds must be {len(MEASURES)} finite numbers with margins above 0")

    @classmethod
    def of(cls, values: Measures) -> Self | None:
        """Return the bounds that known images set, by their measures (n, k); None for fewer than two images."""
        known = values.astype(np.float64)
        if len(known) < 2:
            return None
        extreme = np.quantile(known, 1.0 - TAIL, axis=0)
        spread = (SPREAD + FEW / len(known)) * (extreme - np.median(known, axis=0))
        return cls(extreme, np.maximum(spread, [measure.least for measure in MEASURES.values()]))

    def to_dict(self) -> dict[str, list[float]]:
        """Return extreme and margin by measure, for JSON; `from_dict` restores it."""
        pairs = np.stack([self.extreme, self.margin], axis=1).tolist()
        return dict(zip(MEASURES, pairs, strict=True))

    @classmethod
    def from_dict(cls, data: Mapping[str, Sequence[float]]) -> Self:
        """Restore what `to_dict` returned. Raises KeyError or ValueError: it does not hold the measures."""
        extreme, margin = np.array([data[name] for name in MEASURES], dtype=np.float64).reshape(-1, 2).T
        return cls(extreme, margin)

    def reason(self, values: Measures) -> str:
        """Return why an image with these measures (k,) cannot be judged: what is farthest out; empty if it can.

        Blur is told only where nothing else is: what is dark, blank or cut has few edges, too.
        """
        excess = dict(zip(MEASURES, (values - self.extreme) / self.margin, strict=True))
        beyond = {name: by for name, by in excess.items() if by > 1.0}
        told = {name: by for name, by in beyond.items() if name != "blur"} or beyond
        return MEASURES[max(told, key=told.__getitem__)].reason if told else ""


def widened(bounds: QualityBounds | None, values: Measures) -> QualityBounds | None:
    """Return bounds that hold more images, by their measures (m, k): somebody could label them.

    Where there were no bounds, those of the new images alone; None if there still are none.
    """
    if bounds is None:
        return QualityBounds.of(values)
    return QualityBounds(np.vstack([bounds.extreme, values]).max(axis=0), bounds.margin)
