"""A canvas to draw on in pixels: text that fits, boxes and pictures, on matplotlib's figure.

Only matplotlib's objects are used, not pyplot, whose state threads would share.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from functools import lru_cache
from typing import Any

import numpy as np
import PIL.Image

WIDTH, HEIGHT = 1400, 900
"""Size of a canvas in pixels."""

INK, SOFT, GREY, FAINT, PAPER = "#1A1A1A", "#5F6368", "#9A9A9A", "#ECEDEF", "#FFFFFF"

MISSING = "□"
"""Stands for a character that no font has."""

FALLBACK_FONTS = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Thai", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans", "Yu Gothic", "Malgun Gothic",
    "Apple SD Gothic Neo", "Nirmala UI", "Arial Unicode MS", "Droid Sans Fallback",
)  # fmt: skip
"""Fonts to try, where they are installed, for what DejaVu Sans lacks: it is part of matplotlib, but has no CJK."""


@lru_cache(maxsize=1)
def _fonts() -> tuple[tuple[str, ...], frozenset[int]]:
    """Return the families to draw with, the later for what the earlier lack, and the characters that they have."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    installed = {entry.name for entry in fontManager.ttflist}
    families = ("DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed))
    characters: set[int] = set()
    for family in families:
        files = [findfont(FontProperties(family=[family], weight=weight)) for weight in ("normal", "bold")]
        characters |= set.intersection(*(set(get_font(file).get_charmap()) for file in files))
    return families, frozenset(characters)


def drawable(text: str) -> str:
    """Return `text` with MISSING for each character that no font has: matplotlib would draw something else."""
    characters = _fonts()[1]
    return "".join(sign if ord(sign) in characters else MISSING for sign in text)


class Canvas:
    """A blank canvas; each thing is put over the earlier ones, at pixels from the lower left corner.

    Attributes:
        lacks_a_font: whether a character had to be drawn as MISSING.
    """

    def __init__(self, height: int = HEIGHT) -> None:
        """Make a blank canvas of WIDTH x `height` pixels."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.lacks_a_font = False
        self._figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor=PAPER)
        self._canvas: Any = FigureCanvasAgg(self._figure)  # its methods have no types
        self._layers = 0

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 11,
        colour: str = INK,
        bold: bool = False,
        right: bool = False,
        room: float = WIDTH,
    ) -> float:
        """Draw one line of text, centred on y, that begins at x (or, with `right`, ends there).

        Args:
            x, y: in pixels from the lower left corner.
            words: the text; what does not fit into `room` is cut out of its middle.
            size: in points of 1/72 inch, at 100 pixels an inch.
            colour: such as "#1A1A1A".
            room: the most pixels that it may take.

        Returns:
            The width that it takes, in pixels.
        """
        from matplotlib.font_manager import FontProperties
        from matplotlib.text import Text
        from matplotlib.transforms import IdentityTransform

        words = drawable(words)
        self.lacks_a_font |= MISSING in words
        font = FontProperties(family=list(_fonts()[0]), size=size, weight="bold" if bold else "normal")
        line = Text(
            x, y, words, color=colour, fontproperties=font, ha="right" if right else "left", va="center_baseline",
            transform=IdentityTransform(), parse_math=False, usetex=False, zorder=self._next_layer(),
        )  # fmt: skip
        self._figure.add_artist(line)
        renderer = self._canvas.get_renderer()

        def width_of(written: str) -> float:
            line.set_text(written)
            return float(line.get_window_extent(renderer).width)

        if (width := width_of(words)) <= room:
            return width
        kept = bisect_right(range(len(words)), room, key=lambda count: width_of(_shortened(words, count))) - 1
        return width_of(_shortened(words, max(kept, 0)))

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, edge: str = "none", hatch: str | None = None
    ) -> None:
        """Draw a rectangle whose lower left corner is (x, y); all in pixels."""
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import IdentityTransform

        patch = Rectangle((x, y), width, height, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=0.8)
        patch.set(transform=IdentityTransform(), zorder=self._next_layer())
        self._figure.add_artist(patch)

    def picture(self, picture: PIL.Image.Image, x: int, y: int, width: int, height: int, centred: bool = False) -> None:
        """Draw an RGB picture, scaled as a whole, into a box: at its upper left corner or in its middle."""
        scale = min(width / picture.width, height / picture.height)
        size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
        way = PIL.Image.Resampling.NEAREST if scale > 4 else PIL.Image.Resampling.LANCZOS
        pixels = np.asarray(picture.resize(size, way, reducing_gap=3.0))
        spare_x, spare_y = width - size[0], height - size[1]
        left, bottom = (x + spare_x // 2, y + spare_y // 2) if centred else (x, y + spare_y)
        self._figure.figimage(pixels, left, bottom, origin="upper", zorder=self._next_layer())

    def png(self) -> bytes:
        """Return the canvas as the bytes of a PNG."""
        self._canvas.draw()
        file = io.BytesIO()
        PIL.Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB").save(file, "PNG")
        return file.getvalue()

    def _next_layer(self) -> int:
        self._layers += 1
        return self._layers


def _shortened(words: str, count: int) -> str:
    """Return `count` characters: two thirds from the beginning, and the end, by which long names often differ."""
    end = count // 3
    return f"{words[: count - end].rstrip()}…{words[len(words) - end :].lstrip()}"
