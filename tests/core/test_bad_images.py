"""Images over a limit, and files that are no images: each an error that says what to do."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consilience.core.decoding.image_file import FORMATS
from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image

SCENE = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [128, 128, 128], [10, 20, 30]]], dtype=np.uint8
)


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, rows: bytes = b"\0") -> bytes:
    """An 8-bit RGB PNG written by hand, so that it can declare a size that it does not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def scene_file(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    path.write_bytes(encoded(PIL.Image.fromarray(SCENE)))
    return path


def test_limits_are_settable_and_unknown_ones_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_byte"):
        ImageLimits(max_byte=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="max_pixels"):
        ImageLimits(max_pixels=179_000_000)


def test_a_file_over_the_bytes_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would take all memory
    with pytest.raises(ImageError, match=r"huge\.png' has more than the 67,108,864 bytes allowed.*max_bytes"):
        load_image(path)


def test_bytes_and_file_objects_over_the_bytes(scene_file: Path) -> None:
    data = scene_file.read_bytes()
    assert load_image(data, ImageLimits(max_bytes=len(data))).height == 2
    for source in (data, io.BytesIO(data), scene_file):
        with pytest.raises(ImageError, match=f"more than the {len(data) - 1} bytes"):
            load_image(source, ImageLimits(max_bytes=len(data) - 1))


def test_an_endless_file_object_is_cut_off() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b"\0" * min(size, 1000)

    with pytest.raises(ImageError, match="more than the 5,000 bytes"):
        load_image(Endless(), ImageLimits(max_bytes=5000))


def test_pixels_and_sides_are_judged_by_the_header_alone() -> None:
    with pytest.raises(ImageError, match=r"30,000 x 10 pixels; a side may have at most 20,000.*max_side"):
        load_image(png(30_000, 10), name="wide.png")
    with pytest.raises(ImageError, match=r"8,000 x 8,000 pixels; at most 50,000,000 are allowed.*max_pixels"):
        load_image(png(8_000, 8_000))
    with pytest.raises(ImageError, match="30,000 x 10 pixels"):
        load_image(np.zeros((10, 30_000), dtype=np.uint8))
    with pytest.raises(ImageError, match="30,000 x 10 pixels"):
        load_image(PIL.Image.new("L", (30_000, 10)))


def test_a_30000_pixel_wide_image_is_read_when_allowed() -> None:
    data = encoded(PIL.Image.new("L", (30_000, 10)))
    assert load_image(data, ImageLimits(max_side=30_000)).width == 30_000


@pytest.mark.parametrize("pillow_limit", [None, 1000])
def test_a_decompression_bomb_is_refused_whatever_pillows_own_limit(
    monkeypatch: pytest.MonkeyPatch, pillow_limit: int | None
) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", pillow_limit)
    bomb = png(60_000, 60_000, b"\0" * 1_000_000)
    assert len(bomb) < 2000
    with pytest.raises(ImageError, match=r"'bomb\.png'.*pixels"):
        load_image(bomb, ImageLimits(max_side=100_000), name="bomb.png")
    assert pillow_limit == PIL.Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error")
def test_pillows_bomb_warning_made_an_error_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="declares more pixels"):
        load_image(png(9_500, 9_500))


def test_one_pixel_is_refused_unless_allowed() -> None:
    data = encoded(PIL.Image.new("RGB", (1, 1), (255, 0, 0)))
    with pytest.raises(ImageError, match="1 x 1 pixels; each side must have at least 2"):
        load_image(data)
    assert load_image(data, ImageLimits(min_side=1)).pixels.tolist() == [[[255, 0, 0]]]


def test_no_pixels_are_refused_whatever_the_limits() -> None:
    with pytest.raises(ImageError, match="0 x 0 pixels"):
        load_image(PIL.Image.new("RGB", (0, 0)), ImageLimits(min_side=1))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.png", b"", "is empty"),
        ("text.jpg", b"not a picture at all, whatever the name says", "is not an image"),
        ("text.jpg", b"BMI of 23", "is not an image|damaged"),
        ("page.png", b"<?xml version='1.0'?><svg></svg>", "is SVG or other XML, which is an unsupported format"),
        ("drawing.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "is EPS, which is an unsupported format"),
        ("paper.png", b"%PDF-1.7\n", "is PDF"),
        ("layers.png", b"8BPS\0\1" + bytes(30), "is PSD"),
        ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC|damaged"),
        ("scan.jpg", bytes(128) + b"DICM" + bytes(50), "is DICOM"),
        ("head.jpg", b"\xff\xd8\xff\xe0\0\x10JF", "truncated or damaged header"),
        ("head.png", b"\x89PNG\r\n\x1a\n\0\0", "begins like PNG, but is truncated"),
        ("zeros.tif", bytes(1000), "is not an image"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match=says) as caught:
        load_image(path)
    assert name in str(caught.value)


@pytest.mark.parametrize("kind", [*FORMATS])
def test_a_truncated_file_is_an_error_wherever_it_was_cut(tmp_path: Path, kind: str) -> None:
    ramp = np.arange(40 * 50 * 3, dtype=np.uint32).reshape(40, 50, 3) * 7 % 251
    data = encoded(PIL.Image.fromarray(ramp.astype(np.uint8)), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    for tenth in range(1, 10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(ImageError, match=r"truncated|damaged|not an image"):
            load_image(path)


@given(st.data())
def test_damaged_bytes_give_an_image_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM"]))
    damaged = bytearray(encoded(PIL.Image.fromarray(np.tile(SCENE, (4, 4, 1))), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = load_image(bytes(damaged), ImageLimits(max_pixels=100_000, min_side=1))
    except ImageError:
        return
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape[0] * image.pixels.shape[1] <= 100_000


def test_missing_directory_and_broken_links(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name, says in {
        "nowhere.png": "there is no file '.*nowhere.png'",
        "link.png": "link.png' is a broken symbolic link to '.*gone.png'",
        "loop.png": "loop.png' cannot be read",
        ".": "is a directory; pass the path of one image",
        "pipe.png": "pipe.png' is not a regular file",
        "nul\0.png": "cannot be read",
        "x" * 300: "cannot be read",
    }.items():
        with pytest.raises(ImageError, match=says):
            load_image(str(tmp_path / name))
    with pytest.raises(ImageError, match="there is no file ''"):
        load_image("")


def test_text_that_is_too_long_for_a_path_is_not_repeated() -> None:
    with pytest.raises(ImageError, match="5,000,000 characters is no path; decode base64") as caught:
        load_image("A" * 5_000_000)
    assert len(str(caught.value)) < 200


@pytest.fixture
def unreadable(scene_file: Path) -> Iterator[Path]:
    scene_file.chmod(0)
    if os.geteuid() == 0:  # root may read anything: be nobody meanwhile
        os.seteuid(65534)
    yield scene_file
    os.seteuid(os.getuid())


def test_a_file_that_may_not_be_read(unreadable: Path) -> None:
    with pytest.raises(ImageError, match=r"scene\.png' may not be read; give this user permission"):
        load_image(unreadable)


def test_file_objects_that_are_wrong(scene_file: Path, tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    text.write_text("words")
    with text.open() as file, pytest.raises(ImageError, match="text mode"):
        load_image(file)  # type: ignore[arg-type]
    with scene_file.open(encoding="utf-8") as file, pytest.raises(ImageError, match="pass an open binary file"):
        load_image(file)  # type: ignore[arg-type]
    with scene_file.open("rb") as closed:
        pass
    with pytest.raises(ImageError, match=r"scene\.png' cannot be read"):
        load_image(closed)
    with pytest.raises(ImageError, match=r"is empty .*seek to its start"):
        load_image(io.BytesIO())


@pytest.mark.parametrize("source", [None, 7, ["a.png"], {"url": "x"}])
def test_what_is_no_source_at_all(source: object) -> None:
    with pytest.raises(ImageError, match=f"a {type(source).__name__} is not a source of an image; pass a path"):
        load_image(source)  # type: ignore[arg-type]
