"""Several pictures on one numbered sheet, for endpoints that take fewer in a request than a question holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from consilience.agents.vlm.conversation import Message, MessagePicture
from consilience.core.images import Image
from consilience.prompts import load_prompt

_GAP, _HEAD = 8, 28
"""Pixels between pictures, and above each for its number."""

_PAPER, _INK = (40, 40, 40), (255, 255, 255)


def on_one_sheet(messages: Sequence[Message], most: int | None) -> list[Message]:
    """Return the messages with at most `most` pictures: of more, the later ones are put on one sheet.

    The first picture, which is the image that is asked about, stays by itself where two are allowed; else it is the
    large one at the top of the sheet. Where a picture stood, a text says which one of the sheet it is.

    Args:
        messages: a question about an image.
        most: pictures in a request, at most; None: any number.
    """
    pictures = [part for message in messages for part in message.parts if isinstance(part, MessagePicture)]
    if most is None or len(pictures) <= most:
        return [*messages]
    prompt, alone = load_prompt("one-sheet"), 0 if most == 1 else 1
    sheet = _sheet(pictures[alone:], is_first_large=not alone)
    words = prompt.render("others" if alone else "all", last=str(len(pictures) - alone))
    place, sent = 0, []
    for message in messages:
        parts: list[str | MessagePicture] = []
        for part in message.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            number, place = place - alone + 1, place + 1
            if number < 1:
                parts.append(part)
                continue
            parts += [sheet, words] if number == 1 else []
            parts += [] if number == 1 and not alone else [prompt.render("picture", number=str(number))]
        sent.append(replace(message, parts=tuple(parts)))
    return sent


def _sheet(pictures: Sequence[MessagePicture], is_first_large: bool) -> MessagePicture:
    """Return the pictures as one, drawn when it is sent."""
    drawn = [picture.scaled() for picture in pictures]
    page = _page(drawn, is_first_large)
    identity = hashlib.sha256(",".join(picture.identity for picture in pictures).encode()).hexdigest()
    return MessagePicture(identity, max(page.size), lambda: Image.from_pixels(np.asarray(page), "sheet"))


def _page(pictures: Sequence[PIL.Image.Image], is_first_large: bool) -> PIL.Image.Image:
    """Return the pictures in rows, numbered from 1; the first has a row of its own if it is the large one."""
    rows: list[list[tuple[int, PIL.Image.Image]]] = []
    width = max(
        max(picture.width for picture in pictures), 4 * max(picture.width for picture in pictures[1:] or pictures)
    )
    for number, picture in enumerate(pictures, start=1):
        fits = bool(rows) and sum(other.width + _GAP for _, other in rows[-1]) + picture.width <= width
        if fits and not (is_first_large and number == 2):
            rows[-1].append((number, picture))
        else:
            rows.append([(number, picture)])
    heights = [_HEAD + max(picture.height for _, picture in row) + _GAP for row in rows]
    page = PIL.Image.new("RGB", (width + 2 * _GAP, sum(heights) + _GAP), _PAPER)
    draw, font, top = PIL.ImageDraw.Draw(page), PIL.ImageFont.load_default(size=20), 0
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for number, picture in row:
            draw.text((left, top + 3), str(number), fill=_INK, font=font)
            page.paste(picture, (left, top + _HEAD))
            left += picture.width + _GAP
        top += height
    return page
