"""AVIF is decoded in a process that can be ended: a file may hold thousands of pictures of which one is shown."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import PIL.features
import PIL.Image
import pytest

from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image

pytestmark = pytest.mark.skipif(not PIL.features.check("avif"), reason="this Pillow reads no AVIF")


def avif(image: PIL.Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "AVIF", speed=10, quality=95, **options)
    return file.getvalue()


def with_hidden_pictures(data: bytes, times: int) -> bytes:
    """The coded picture so many times in the place of one: each is decoded, and one is shown."""
    position, boxes = 0, {}
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        boxes[data[position + 4 : position + 8]] = data[position : position + length]
        position += length
    body, meta = boxes[b"mdat"][8:], boxes[b"meta"]
    place = meta.rindex(struct.pack(">I", len(body)))  # how long the picture is
    meta = meta[:place] + struct.pack(">I", times * len(body)) + meta[place + 4 :]
    return boxes[b"ftyp"] + meta + struct.pack(">I", 8 + times * len(body)) + b"mdat" + times * body


def test_it_is_read_as_it_was_here() -> None:
    blocks = np.kron(np.array([[0, 80, 120], [160, 200, 240]], dtype=np.uint8), np.ones((32, 32), dtype=np.uint8))
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Apple"
    image = load_image(avif(PIL.Image.fromarray(blocks).convert("RGB"), exif=exif))
    np.testing.assert_allclose(image.pixels[16::32, 16::32, 0], [[160, 0], [200, 80], [240, 120]], atol=8)
    assert image.shot.camera == "Apple"
    clear = PIL.Image.new("RGBA", (1300, 900), (0, 0, 0, 0))  # written in several strips
    assert (load_image(avif(clear)).pixels == 255).all()


def test_decoding_is_ended_when_it_takes_too_long() -> None:
    data = with_hidden_pictures(avif(PIL.Image.new("RGB", (1500, 1500))), 20_000)
    with pytest.raises(ImageError, match=r"'bomb' takes more than 1 s to decode.*decode_seconds"):
        load_image(data, ImageLimits(decode_seconds=1), name="bomb")


def test_a_damaged_one_is_named() -> None:
    data = avif(PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    with pytest.raises(ImageError, match="truncated or damaged"):
        load_image(data[: len(data) // 2])
    with pytest.raises(ImageError, match="at most 100 are allowed"):
        load_image(data, ImageLimits(max_pixels=100))


def test_what_lies_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIL.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('owned')")
    monkeypatch.chdir(tmp_path)
    assert load_image(avif(PIL.Image.new("RGB", (16, 16)))).width == 16
