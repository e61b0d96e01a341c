"""Camera and time of a picture, from its EXIF block."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from consilience.core.exif import UNKNOWN_SHOT, shot_of
from consilience.core.images import load_image

NOON = datetime(2024, 5, 17, 12, 0, 3, tzinfo=UTC).timestamp()


def jpeg(tags: dict[int, Any], block: dict[int, Any]) -> bytes:
    exif = PIL.Image.Exif()
    exif.update(tags)
    exif.get_ifd(0x8769).update(block)
    file = io.BytesIO()
    PIL.Image.new("RGB", (40, 40), "green").save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_an_image_knows_its_camera_and_when_it_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "leaf.jpg"
    path.write_bytes(jpeg({271: "Canon", 272: "EOS 90D"}, {36867: "2024:05:17 12:00:03", 37521: "250", 42033: "8123"}))
    shot = load_image(path).shot
    assert (shot.camera, shot.seconds) == ("Canon EOS 90D 8123", NOON + 0.25)
    assert load_image(path.read_bytes()).shot == shot


def test_two_of_one_model_differ_by_their_serial_number() -> None:
    first, second = (load_image(jpeg({272: "EOS 90D"}, {42033: serial})).shot for serial in ("1", "2"))
    assert first.camera != second.camera


@pytest.mark.parametrize(
    "taken",
    ["0000:00:00 00:00:00", "2024-05-17 12:00:03", "2024:13:40 99:00:00", "    :  :     :  :  ", "yesterday", ""],
)
def test_a_clock_that_was_never_set_tells_no_time(taken: str) -> None:
    shot = load_image(jpeg({272: "EOS"}, {36867: taken, 37521: "x"})).shot
    assert (shot.camera, shot.seconds) == ("EOS", None)


def test_a_camera_is_one_short_line_whatever_the_file_says() -> None:
    shot = load_image(jpeg({272: "A\nB\t\x1b[31m" + "x" * 500}, {})).shot
    assert shot.camera.isprintable()
    assert len(shot.camera) == 100
    assert shot.camera.startswith("A B")


def test_pictures_without_a_block_or_with_a_damaged_one_are_read_all_the_same() -> None:
    file = io.BytesIO()
    PIL.Image.new("RGB", (40, 40)).save(file, "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert load_image(file.getvalue()).shot == UNKNOWN_SHOT
    assert shot_of(PIL.Image.new("L", (2, 2))) == UNKNOWN_SHOT
