"""What load_image reads, and what an Image is."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consilience.core.decoding.image_file import FORMATS
from consilience.core.errors import ImageError
from consilience.core.images import Image, ImageNotes, Named, load_image

SCENE = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [128, 128, 128], [10, 20, 30]]], dtype=np.uint8
)


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def scene_file(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    path.write_bytes(encoded(PIL.Image.fromarray(SCENE)))
    return path


def test_every_kind_of_source_gives_the_same_image(scene_file: Path) -> None:
    data = scene_file.read_bytes()
    with scene_file.open("rb") as file:
        images = [
            load_image(source)
            for source in (
                scene_file, str(scene_file), data, bytearray(data), memoryview(data), file, io.BytesIO(data),
                PIL.Image.open(scene_file), PIL.Image.fromarray(SCENE), SCENE,
            )
        ]  # fmt: skip
    for image in images:
        np.testing.assert_array_equal(image.pixels, SCENE)
        assert (image.height, image.width) == (2, 3)
    assert len({image.identity for image in images}) == 1
    assert [image.source for image in images] == [
        str(scene_file), str(scene_file), "bytes", "bytes", "bytes", str(scene_file), "file object",
        str(scene_file), "Pillow image", "array",
    ]  # fmt: skip


def test_an_image_is_returned_as_it_is_and_a_name_becomes_the_source() -> None:
    image = load_image(SCENE, name="plate 7")
    assert image.source == "plate 7"
    assert load_image(image) is image


def test_a_name_goes_with_what_holds_the_image(scene_file: Path) -> None:
    assert load_image(Named(scene_file.read_bytes(), "leaf.png")).source == "leaf.png"
    assert load_image(Named(scene_file, "leaf.png"), name="other.png").source == "other.png"
    with pytest.raises(ImageError, match=r"'leaf\.png' is not an image"):
        load_image(Named(b"no image at all", "leaf.png"))


def test_pixels_are_read_only_contiguous_and_the_callers_array_stays_the_callers() -> None:
    mine = SCENE.copy()
    for image in (load_image(mine), Image.from_pixels(mine), load_image(encoded(PIL.Image.fromarray(SCENE)))):
        assert image.pixels.dtype == np.uint8
        assert image.pixels.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            image.pixels[0, 0, 0] = 1
    kept = load_image(mine)
    mine[:] = 0
    np.testing.assert_array_equal(kept.pixels, SCENE)


def test_a_pillow_image_is_left_as_it_was() -> None:
    image = PIL.Image.fromarray(SCENE)
    image.getexif()[0x0112] = 6
    assert load_image(image).pixels.shape == (3, 2, 3)
    assert (image.size, image.getexif()[0x0112]) == ((3, 2), 6)


def test_a_file_object_is_read_from_where_it_stands_even_in_small_pieces() -> None:
    class OneByteAtATime(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self._data.read(1)

    data = encoded(PIL.Image.fromarray(SCENE))
    np.testing.assert_array_equal(load_image(OneByteAtATime(data)).pixels, SCENE)
    file = io.BytesIO(b"header" + data)
    file.seek(6)
    np.testing.assert_array_equal(load_image(file).pixels, SCENE)


def test_names_in_any_script(tmp_path: Path) -> None:
    path = tmp_path / "лист 葉 ورقة 🍃.png"
    path.write_bytes(encoded(PIL.Image.fromarray(SCENE)))
    assert load_image(path).source == str(path)


def test_from_pixels_takes_only_rgb() -> None:
    for wrong in (SCENE[..., 0], SCENE.astype(np.float32), SCENE[:0], np.zeros((2, 2, 4), dtype=np.uint8)):
        with pytest.raises(ImageError, match="uint8 of shape"):
            Image.from_pixels(wrong)


SMALL = hnp.arrays(np.uint8, st.tuples(st.integers(2, 6), st.integers(2, 6), st.just(3)))


@given(SMALL)
def test_identity_survives_a_lossless_file(pixels: npt.NDArray[np.uint8]) -> None:
    image = load_image(pixels)
    again = load_image(encoded(PIL.Image.fromarray(pixels)))
    assert again.identity == image.identity
    np.testing.assert_array_equal(again.pixels, pixels)


@given(SMALL, SMALL)
def test_identities_are_equal_only_for_equal_pixels(first: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> None:
    assert (load_image(first).identity == load_image(other).identity) == np.array_equal(first, other)


def test_identity_knows_the_shape() -> None:
    wide, tall = np.zeros((2, 8, 3), dtype=np.uint8), np.zeros((8, 2, 3), dtype=np.uint8)
    assert wide.tobytes() == tall.tobytes()
    assert load_image(wide).identity != load_image(tall).identity


def test_identity_is_the_documented_hash() -> None:
    assert load_image(SCENE).identity == hashlib.sha256(b"2 x 3;" + SCENE.tobytes()).hexdigest()


@pytest.mark.parametrize(("height", "width", "size"), [(300, 600, (96, 48)), (600, 300, (48, 96)), (20, 30, (30, 20))])
def test_thumbnail_is_a_jpeg_that_keeps_the_aspect_and_never_grows(
    height: int, width: int, size: tuple[int, int]
) -> None:
    jpeg = load_image(np.full((height, width, 3), (200, 100, 50), dtype=np.uint8)).thumbnail()
    with PIL.Image.open(io.BytesIO(jpeg)) as small:
        assert (small.format, small.size) == ("JPEG", size)
        assert np.abs(np.asarray(small).astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1600, 120, (320, 24)),  # was 96 x 7
        (90, 1400, (24, 373)),
        (1600, 400, (96, 24)),
        (1600, 420, (96, 25)),
        (9600, 20, (384, 1)),
        (200, 16, (200, 16)),  # never enlarged
    ],
)
def test_of_an_elongated_image_something_can_be_seen(width: int, height: int, size: tuple[int, int]) -> None:
    small = load_image(np.zeros((height, width, 3), dtype=np.uint8)).scaled(96)
    assert small.size == size
    assert small.width * small.height <= 96 * 96


def test_notes_of_one_kind_are_counted_together() -> None:
    notes = ImageNotes()
    for greatest in (4000, 3000, 2500):
        notes.add(load_image(np.full((4, 4), greatest, np.uint16), name=f"{greatest}.png"))
    notes.add(load_image(np.full((4, 4), 900, np.uint16), name="dark.png"))
    notes.add(load_image(SCENE))
    first, second = notes.sentences()
    assert first == (
        "'4000.png' taken as 12 bits in 16 (the greatest value is 4,000): 0 to 4,095 is shown as black to white; "
        "2 more likewise"
    )
    assert second.startswith("'dark.png' taken as 10 bits in 16")


def test_many_threads_read_the_same_files(tmp_path: Path) -> None:
    expected = {}
    for kind in FORMATS:
        path = tmp_path / f"{kind}.img"
        path.write_bytes(encoded(PIL.Image.fromarray(np.tile(SCENE, (16, 16, 1))), kind))
        expected[path] = load_image(path).identity
    by_path: list[dict[Path, str]] = []

    def work() -> None:
        by_path.append({path: load_image(path).identity for path in expected})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert by_path == [expected] * 8
