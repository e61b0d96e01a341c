"""Many images side by side on one page, numbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image

from consilience.core.render.drawing import FAINT, SOFT, WIDTH, Page

# All in pixels.
MARGIN, HEAD, SIDE, PITCH, ROW = 36, 76, 150, 168, 204
COLUMNS = (WIDTH - 2 * MARGIN + PITCH - SIDE) // PITCH


@dataclass(frozen=True)
class SheetCell:
    """One image of a sheet: the picture, RGB, its name, and a word on it."""

    picture: PIL.Image.Image
    name: str
    note: str = ""


def contact_sheet(heading: str, cells: Sequence[SheetCell]) -> bytes:
    """The cells in rows, numbered from 1, below a heading: the bytes of a PNG, 1400 pixels wide."""
    rows = -(-len(cells) // COLUMNS)
    height = HEAD + ROW * rows + MARGIN
    page = Page(height)
    page.text(MARGIN, height - HEAD / 2, heading, size=15, bold=True, room=WIDTH - 2 * MARGIN)
    for place, cell in enumerate(cells):
        x, top = MARGIN + PITCH * (place % COLUMNS), height - HEAD - ROW * (place // COLUMNS)
        page.box(x, top - SIDE, SIDE, SIDE, FAINT)
        page.picture(cell.picture, x, top - SIDE, SIDE, SIDE, centred=True)
        number = page.text(x, top - SIDE - 14, str(place + 1), bold=True)
        page.text(x + number + 6, top - SIDE - 14, cell.name, size=9, room=SIDE - number - 6)
        page.text(x, top - SIDE - 32, cell.note, size=9, colour=SOFT, room=SIDE)
    return page.png()
