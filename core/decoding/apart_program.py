"""A program that decodes one AVIF or HEIC file, so that it can be ended. `apart` starts it; it imports none of us.

    python apart_program.py AVIF|HEIC SECONDS < file

It writes a line of JSON (`mode`, `size`, `exif` in base64; or `error`), and then the pixels, row by row. The system
ends it after SECONDS of computing, all its threads together.
"""

from __future__ import annotations

import base64
import io
import json
import sys

import PIL.Image

STRIP = 1_000_000
"""Pixels that are written at a time."""


def main(kind: str, seconds: int) -> None:
    """Decode what stands on standard input, and write it on standard output."""
    _bound(seconds)
    out, data = sys.stdout.buffer, io.BytesIO(sys.stdin.buffer.read())
    try:
        image = _decoded(data, kind)
    except Exception as cause:  # a decoder raises anything for damaged bytes
        out.write(json.dumps({"error": f"{cause}"}).encode() + b"\n")
        return
    exif = base64.b64encode(image.info.get("exif") or b"").decode("ascii")
    out.write(json.dumps({"mode": image.mode, "size": image.size, "exif": exif}).encode() + b"\n")
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        out.write(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())


def _decoded(data: io.BytesIO, kind: str) -> PIL.Image.Image:
    PIL.Image.MAX_IMAGE_PIXELS = None  # whoever started it has compared the size with the limits
    if kind == "HEIC":
        import pillow_heif

        heic: PIL.Image.Image = pillow_heif.open_heif(data).to_pillow()
        return heic
    image = PIL.Image.open(data, formats=[kind])
    image.load()
    return image


def _bound(seconds: int) -> None:
    try:
        import resource
    except ImportError:  # on Windows whoever started it ends it, after a longer time
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
