"""Texts in a PNG do not make it a damaged one."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from consilience.core.decoding.png_texts import MAX_CHUNKS, without_texts
from consilience.core.errors import ImageError
from consilience.core.images import load_image


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


HUGE = zlib.compress(b" " * 3_000_000)
TEXTS = {
    "compressed": chunk(b"zTXt", b"Comment\0\0" + HUGE),
    "compressed XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + HUGE),
    "plain": chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
    "of all languages": chunk(b"iTXt", b"Comment\0\1\0\0\0" + HUGE),
    "colour profile": chunk(b"iCCP", b"profile\0\0" + HUGE),
    "many": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b" " * 900_000)) * 90,
}
SCENE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(SCENE).save(file, "PNG")
    data = file.getvalue()
    return data[:33] + before + data[33:-12] + after + data[-12:]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("is_after", [False, True])
def test_large_texts_are_passed_over(text: str, is_after: bool) -> None:
    data = png(after=TEXTS[text]) if is_after else png(before=TEXTS[text])
    np.testing.assert_array_equal(load_image(data).pixels, SCENE)


def test_short_texts_that_say_which_way_up_are_read() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    turned = png(before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    np.testing.assert_array_equal(load_image(turned).pixels, np.rot90(SCENE, -1))


def test_what_has_no_texts_is_left_as_it_is() -> None:
    data = png()
    assert without_texts(data, "leaf") is data
    for start in (b"", b"GIF89a", data[:20], data[:-5]):
        assert without_texts(start, "leaf") == start


def test_endless_chunks_are_refused() -> None:
    with pytest.raises(ImageError, match=r"'many' is a PNG of more than 100,000 chunks"):
        load_image(png(before=chunk(b"tIME", b"") * (MAX_CHUNKS + 1)), name="many")
