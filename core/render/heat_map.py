"""Where in an image the evidence lies for a label, and where for another: a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from consilience.core.images import Image
from consilience.core.render.phrases import one_line

STRONGEST = 0.65
"""How much of the strongest region's colour covers the image, in [0, 1]."""

CELLS = 28
"""Rows, and columns, of `HeatMap.cells`: as many as show a map of 9 x 9 smoothly."""

SHOWN = 320
"""Pixels of the longer side of the picture that a notebook shows, at most."""

PLACES = (
    ("at the upper left", "at the top", "at the upper right"),
    ("at the left", "in the middle", "at the right"),
    ("at the lower left", "at the bottom", "at the lower right"),
)
"""Thirds of an image, in words."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Which regions of an image speak for a label, and which for another, by the agents that can tell.

    Attributes:
        label, other: the two labels that are compared.
        evidence: by agent, what each cell of a grid adds to the log-odds of `label` against `other`, as much as the
            diagnosis counts it: float64 (rows, columns); above 0 it speaks for `label`. Grids may differ in size.
        size: height and width of the image, in pixels.
        how: "activation": exact, each grid sums to what its agent added to the log-odds. "occlusion": how much the
            log-odds fell when the cell alone was blurred; no sum holds.
        image: in which it was found out; None: not kept.
    """

    label: str
    other: str
    evidence: Mapping[str, NDArray[np.float64]]
    size: tuple[int, int]
    how: Literal["activation", "occlusion"]
    image: Image | None = field(default=None, repr=False)

    @property
    def total(self) -> float:
        """The sum of all cells: what these agents added to the log-odds of `label` against `other` ("activation")."""
        return float(sum(grid.sum() for grid in self.evidence.values()))

    @cached_property
    def for_label(self) -> NDArray[np.float32]:
        """Where the image speaks for `label`: float32 (height, width), in [0, 1].

        0: this place speaks for `other`, or for neither. 1: no place says more, for either label. It compares places of
        one image; it is no probability, and says nothing of how sure the diagnosis is.
        """
        return self.scaled(*self.size)[0]

    @cached_property
    def for_other(self) -> NDArray[np.float32]:
        """Where the image speaks for `other`, in the same unit as `for_label`."""
        return self.scaled(*self.size)[1]

    def scaled(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return `for_label` and `for_other` for the image at another size, in pixels."""
        density = np.zeros((height, width), np.float32)
        for grid in self.evidence.values():
            cells = PIL.Image.fromarray(np.asarray(grid * grid.size, np.float32))
            density += np.asarray(cells.resize((width, height), PIL.Image.Resampling.BILINEAR))
        most = float(np.abs(density).max())
        density /= most or 1.0
        return np.maximum(density, 0.0), np.maximum(-density, 0.0)

    @cached_property
    def cells(self) -> NDArray[np.float32]:
        """`for_label` - `for_other` on a coarse grid over the whole image: float32 (CELLS, CELLS), in [-1, 1]."""
        mine, others = self.scaled(CELLS, CELLS)
        return mine - others

    @property
    def words(self) -> str:
        """What the map says, in plain words: also for those who cannot see it."""
        label, other = one_line(self.label), one_line(self.other)
        agents = [one_line(agent) for agent in self.evidence]
        saw = " and ".join(filter(None, [", ".join(agents[:-1]), agents[-1]]))
        return (
            f"{_speaks(label, self.cells)} {_speaks(other, -self.cells)} The strongest colour is the strongest place "
            f"of this image; it does not say how sure the answer is. This is what {saw} saw, not other agents."
        )

    def _repr_html_(self) -> str | None:
        """Return what Jupyter shows: the colours over the image, and what they mean; None without the image."""
        from consilience.core.render.colours import PALETTE
        from consilience.core.render.html import picture_html

        if self.image is None:
            return None
        colours = PALETTE[:2]
        key = [*zip((self.label, self.other), colours, strict=True)]
        return picture_html(self.over(self.image.scaled(SHOWN), *colours), "where the agents looked", key, self.words)

    def over(self, picture: PIL.Image.Image, colour: str, other_colour: str) -> PIL.Image.Image:
        """Return an RGB picture with the two labels' regions in their colours, such as "#0072B2", over it."""
        mixed = np.asarray(picture, np.float32)
        for heat, paint in zip(self.scaled(picture.height, picture.width), (colour, other_colour), strict=True):
            share = STRONGEST * heat[:, :, None]
            mixed = (1 - share) * mixed + share * _rgb(paint)
        return PIL.Image.fromarray(np.rint(mixed).astype(np.uint8))

    def layer(self, side: int, colour: str, other_colour: str) -> PIL.Image.Image:
        """Return the colours alone, to be laid over the image: RGBA, in its shape, of which the longer side is `side`.

        The strongest place cannot be seen through.
        """
        mine, others = self.scaled(*(max(1, round(side * length / max(self.size))) for length in self.size))
        paint = np.where(mine[:, :, None] > 0, _rgb(colour), _rgb(other_colour))
        layer = np.concatenate([paint, 255 * (mine + others)[:, :, None]], axis=2)
        return PIL.Image.fromarray(np.rint(layer).astype(np.uint8))


def _rgb(colour: str) -> NDArray[np.int_]:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])


def _speaks(label: str, cells: NDArray[np.float32]) -> str:
    """Return which regions speak for a label, and where most; `cells`: above 0 where they do."""
    row, column = (int(at) for at in np.unravel_index(cells.argmax(), cells.shape))
    if cells[row, column] <= 0.0:
        return f"Nothing in the image speaks for {label}."
    place = PLACES[3 * row // CELLS][3 * column // CELLS]
    return f"Regions in the colour of {label} speak for {label}, most of all {place}."
