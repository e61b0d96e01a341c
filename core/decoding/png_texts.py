"""The texts in a PNG, such as a program's settings: they can be huge, Pillow calls such files damaged, and nobody reads
them here."""

from __future__ import annotations

from consilience.core.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000
"""Of a PNG; usual encoders write one for each 8 KiB or more."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTATION = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0\0")
"""Beginnings of texts in which programs keep which way up an image is; the last is one that is not compressed."""

_SHORT = 65_536


def without_texts(data: bytes, name: str) -> bytes:
    """Return a PNG file without its texts and its colour profile, which is not used; any other file as it is.

    A short text in which the orientation may stand is kept.

    Raises:
        ImageError: it has more than MAX_CHUNKS chunks; `name` is what the message calls it.
    """
    if not data.startswith(SIGNATURE):
        return data
    kept: list[bytes] = []
    position = start = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(data):
            break
        after = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] in _TEXTS and not (
            after - position <= _SHORT and data[position + 8 : position + 32].startswith(_ORIENTATION)
        ):
            kept.append(data[start:position])
            start = after
        position = after
    else:
        raise ImageError(f"'{name}' is a PNG of more than {MAX_CHUNKS:,} chunks; save it again")
    return data if start == len(SIGNATURE) else b"".join([SIGNATURE, *kept, data[start:]])
