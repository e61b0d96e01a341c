"""Many images side by side on one page, numbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image

from consilience.core.render.drawing import FAINT, SOFT, WIDTH, Canvas

# All in pixels.
MARGIN, HEAD, SIDE, PITCH, ROW = 36, 76, 150, 168, 204
COLUMNS = (WIDTH - 2 * MARGIN + PITCH - SIDE) // PITCH


@dataclass(frozen=True)
class SheetCell:
    """One image of a contact sheet.

    Attributes:
        picture: the image, RGB.
        name: shown below it, beside its number.
        note: shown below the name.
    """

    picture: PIL.Image.Image
    name: str
    note: str = ""


def contact_sheet(heading: str, cells: Sequence[SheetCell]) -> bytes:
    """Return a PNG, 1400 pixels wide, with the cells in rows below a heading, numbered from 1."""
    rows = -(-len(cells) // COLUMNS)
    height = HEAD + ROW * rows + MARGIN
    canvas = Canvas(height)
    canvas.text(MARGIN, height - HEAD / 2, heading, size=15, bold=True, room=WIDTH - 2 * MARGIN)
    for place, cell in enumerate(cells):
        x, top = MARGIN + PITCH * (place % COLUMNS), height - HEAD - ROW * (place // COLUMNS)
        canvas.box(x, top - SIDE, SIDE, SIDE, FAINT)
        canvas.picture(cell.picture, x, top - SIDE, SIDE, SIDE, centred=True)
        number = canvas.text(x, top - SIDE - 14, str(place + 1), bold=True)
        canvas.text(x + number + 6, top - SIDE - 14, cell.name, size=9, room=SIDE - number - 6)
        canvas.text(x, top - SIDE - 32, cell.note, size=9, colour=SOFT, room=SIDE)
    return canvas.png()
