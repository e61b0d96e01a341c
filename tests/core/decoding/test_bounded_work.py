"""Decoding is bounded: scans, time of one file, pixels of all at once."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience.core.decoding.bounded_work import PIXEL_ROOM, READ_AT_ONCE, PixelRoom
from consilience.core.decoding.jpeg_scans import count_scans
from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image


def noise(width: int = 64, height: int = 48) -> PIL.Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(values)


def encoded(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan, a refinement, is sent again and again: 76 kB can cost seconds."""
    data = encoded(noise(), "JPEG", progressive=True)
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    return data[: starts[-1]] + data[starts[-1] : -2] * (number - len(starts) + 1) + data[-2:]


@pytest.mark.parametrize("number", [20, 100])
def test_scans_are_counted(number: int) -> None:
    assert count_scans(with_scans(number), 1000) == number
    assert count_scans(with_scans(number), 5) == 6


def test_plain_and_usual_progressive_jpegs_have_few_scans() -> None:
    assert count_scans(encoded(noise(), "JPEG"), 1000) == 1
    assert count_scans(encoded(noise(), "JPEG", restart_marker_rows=1), 1000) == 1
    assert count_scans(encoded(noise(), "MPO", save_all=True, append_images=[noise()]), 1000) == 1
    assert 2 <= count_scans(encoded(noise(), "JPEG", progressive=True), 1000) <= 12


def test_a_thumbnail_in_the_header_is_no_scan() -> None:
    data = encoded(noise(), "JPEG")
    inner = encoded(noise(16, 16), "JPEG")
    segment = b"\xff\xe5" + struct.pack(">H", len(inner) + 2) + inner
    assert count_scans(data[:2] + segment + data[2:], 1000) == 1


def test_a_jpeg_of_very_many_scans_is_refused_and_the_bound_can_be_set() -> None:
    with pytest.raises(ImageError, match=r"'bomb' is a JPEG of more than 100 scans \(max_scans\).*plain JPEG"):
        load_image(with_scans(101), name="bomb")
    load_image(with_scans(20))
    with pytest.raises(ImageError, match="more than 8 scans"):
        load_image(with_scans(20), ImageLimits(max_scans=8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM"])
def test_decoding_is_ended_when_it_takes_too_long(kind: str) -> None:
    data = encoded(noise(300, 200), kind)
    assert len(data) > READ_AT_ONCE
    assert load_image(data).width == 300
    with pytest.raises(ImageError, match=r"'slow' takes more than 1e-09 s to decode.*decode_seconds"):
        load_image(data, ImageLimits(decode_seconds=1e-9), name="slow")


def test_no_more_pixels_are_decoded_at_once_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight WebP files of few bytes and many pixels took eight times the memory of one."""
    data = encoded(PIL.Image.new("RGB", (300, 200)), "WEBP", lossless=True)
    limits = ImageLimits(max_pixels_at_once=130_000)  # room for two of 60,000
    load = PIL.Image.Image.convert
    lock, together, most = threading.Lock(), 0, 0
    two = threading.Barrier(2)

    def counted(self: PIL.Image.Image, *args: Any, **options: Any) -> Any:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        two.wait(10)  # each waits for another one: two do get in
        with lock:
            together -= 1
        return load(self, *args, **options)

    monkeypatch.setattr(PIL.Image.Image, "convert", counted)
    grey = encoded(PIL.Image.new("L", (300, 200)), "PNG")
    threads = [threading.Thread(target=load_image, args=(grey, limits)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 2
    assert load_image(data, ImageLimits(max_pixels_at_once=1)).width == 300  # larger than the room: alone


def test_room_is_given_back_after_an_error() -> None:
    room = PixelRoom()
    with pytest.raises(ZeroDivisionError), room.holding(5, 5):
        raise ZeroDivisionError
    with room.holding(5, 5):
        pass


def test_a_child_of_a_process_that_decodes_has_all_the_room() -> None:
    with PIXEL_ROOM.holding(100, 100):
        child = os.fork()
        if child == 0:
            with PIXEL_ROOM.holding(100, 100):
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_small_tiff_with_huge_tiles_is_refused(tmp_path: Path) -> None:
    entries = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 1 << 16, 323: 1 << 14, 324: 8, 325: 8}
    index = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()
    )
    data = b"II*\0" + struct.pack("<I", 16) + bytes(8) + index + bytes(4)
    with pytest.raises(ImageError, match="tiles of 65,536 x 16,384 pixels"):
        load_image(data)
