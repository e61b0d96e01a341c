"""How each kind of pixel becomes 8-bit RGB."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from consilience.core.decoding.image_file import FORMATS
from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image

RED, GREEN, BLUE, GREY, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (255, 255, 255)
SCENE = np.array([[RED, GREEN, BLUE], [WHITE, GREY, (10, 20, 30)]], dtype=np.uint8)  # (2, 3, 3): no symmetry


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels_of(image: PIL.Image.Image, kind: str, **options: object) -> npt.NDArray[np.uint8]:
    return load_image(encoded(image, kind, **options)).pixels


@pytest.mark.parametrize("kind", sorted({*FORMATS, "MPO"} - {"JPEG", "MPO", "GIF", "AVIF"}))
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    np.testing.assert_array_equal(pixels_of(PIL.Image.fromarray(SCENE), kind, lossless=True), SCENE)


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "GIF", "AVIF"])
def test_other_formats_keep_a_plain_picture(kind: str) -> None:
    pixels = pixels_of(PIL.Image.new("RGB", (16, 8), (200, 100, 50)), kind)
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    # A scene of four 16 x 16 blocks (so that JPEG keeps them apart), stored the way a turned camera stores it.
    upright = np.kron(np.array([[0, 80, 120], [160, 200, 240]], dtype=np.uint8), np.ones((16, 16), dtype=np.uint8))
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = pixels_of(PIL.Image.fromarray(np.ascontiguousarray(stored)).convert("RGB"), kind, exif=exif, quality=95)
    assert pixels.shape == (32, 48, 3)
    assert np.abs(pixels[..., 1].astype(int) - upright).max() <= 8


def test_an_exif_block_that_cannot_be_read_counts_as_none() -> None:
    image = PIL.Image.fromarray(SCENE)
    np.testing.assert_array_equal(pixels_of(image, "PNG", exif=b"Exif\0\0nonsense"), SCENE)


def test_grey_and_black_and_white_are_repeated() -> None:
    grey = PIL.Image.fromarray(np.array([[0, 7], [128, 255]], dtype=np.uint8))
    assert pixels_of(grey, "PNG")[:, :, 2].tolist() == [[0, 7], [128, 255]]
    assert pixels_of(grey.point(lambda value: 255 * (value > 100), mode="1"), "PNG").tolist() == [
        [[0, 0, 0], [0, 0, 0]],
        [[255, 255, 255], [255, 255, 255]],
    ]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_the_high_byte(kind: str) -> None:
    deep = PIL.Image.fromarray(np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16))
    assert pixels_of(deep, kind)[..., 0].tolist() == [[0, 0, 1], [128, 254, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "array"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_greys_of_fewer_bits_in_sixteen_are_not_shown_nearly_black(kind: str, bits: int) -> None:
    values = (np.array([[0, 64, 128], [192, 254, 255]]) << (bits - 8)).astype(np.uint16)
    image = load_image(values if kind == "array" else encoded(PIL.Image.fromarray(values), kind))
    assert image.pixels[..., 0].tolist() == [[0, 64, 128], [192, 254, 255]]
    assert image.note == (
        f"taken as {bits} bits in 16 (the greatest value is {values.max():,}): "
        f"0 to {2**bits - 1:,} is shown as black to white"
    )
    assert load_image(values, ImageLimits(grey_bits=16)).pixels.max() == 255 >> (16 - bits)


def test_all_sixteen_bits_need_no_note_and_stated_ones_are_believed() -> None:
    deep = np.array([[0, 300], [400, 20_000]], dtype=np.uint16)
    assert load_image(deep).note == ""
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 4095  # MaxSampleValue
    dark = load_image(encoded(PIL.Image.fromarray(deep // 100), "TIFF", tiffinfo=tags))
    assert dark.pixels[..., 0].tolist() == [[0, 0], [0, 12]]
    assert "taken as 12 bits in 16 (stated)" in dark.note


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_that_only_the_first_picture_of_several_is_looked_at_is_noted(kind: str) -> None:
    dark, light = (PIL.Image.new("RGB", (16, 16), (value, value, value)) for value in (0, 255))
    several = load_image(encoded(dark, kind, save_all=True, append_images=[light]))
    assert several.pixels.max() < 8
    words = "the file holds several pictures, of which the first is looked at"
    assert several.note == ("" if kind == "MPO" else words)  # the further ones of a photo are previews
    assert load_image(encoded(dark, kind)).note == ""


def test_twelve_bit_colours_of_a_png_are_at_least_named() -> None:
    row = np.full((2, 2 * 3), 4000, dtype=">u2")
    rows = b"".join(b"\0" + line.tobytes() for line in row)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    image = load_image(data)
    assert image.pixels.max() == 4000 >> 8
    assert "so it is shown dark: save it with 8 bits a colour" in image.note


def test_large_images_are_converted_in_strips_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilience.core.pixels._STRIP", 100)
    grey = np.random.default_rng(0).integers(0, 256, (37, 41), dtype=np.uint8)
    assert (pixels_of(PIL.Image.fromarray(grey), "PNG") == grey[:, :, None]).all()


def test_wide_integers_are_sixteen_bit_or_refused() -> None:
    assert pixels_of(PIL.Image.fromarray(np.full((2, 2), 65535, dtype=np.int32)), "TIFF").max() == 255
    for wrong in (-1, 65536):
        with pytest.raises(ImageError, match=r"32-bit values from .*scale it"):
            pixels_of(PIL.Image.fromarray(np.array([[0, wrong]] * 2, dtype=np.int32)), "TIFF")


def test_float_files_are_in_the_unit_range_or_refused() -> None:
    values = np.array([[0.0, 0.5], [0.25, 1.0]], dtype=np.float32)
    assert pixels_of(PIL.Image.fromarray(values), "TIFF")[..., 0].tolist() == [[0, 128], [64, 255]]
    with pytest.raises(ImageError, match=r"outside \[0, 1\]"):
        pixels_of(PIL.Image.fromarray(values * 300), "TIFF")


def test_cmyk_becomes_rgb() -> None:
    inks = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert pixels_of(inks, "TIFF")[0, 0].tolist() == [255, 0, 0]
    assert np.abs(pixels_of(inks, "JPEG", quality=95)[8, 8].astype(int) - (255, 0, 0)).max() <= 8


def test_transparency_is_laid_on_white() -> None:
    rgba = PIL.Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    rgba.putpixel((1, 0), (255, 0, 0, 255))
    rgba.putpixel((0, 1), (0, 0, 0, 128))
    expected = [[[255, 255, 255], [255, 0, 0]], [[127, 127, 127], [255, 255, 255]]]
    assert pixels_of(rgba, "PNG").tolist() == expected
    assert load_image(np.asarray(rgba)).pixels.tolist() == expected
    assert pixels_of(PIL.Image.new("LA", (2, 2), (0, 128)), "PNG")[0, 0].tolist() == [127, 127, 127]
    assert pixels_of(PIL.Image.new("RGB", (2, 2), RED), "PNG", transparency=RED)[0, 0].tolist() == [255, 255, 255]


def test_palettes_with_and_without_transparency() -> None:
    palette = PIL.Image.new("P", (2, 2), 1)
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((0, 0), 0)
    assert pixels_of(palette, "PNG").tolist() == [[[*RED], [*BLUE]], [[*BLUE], [*BLUE]]]
    for kind in ("PNG", "GIF"):
        assert pixels_of(palette, kind, transparency=0).tolist() == [[[*WHITE], [*BLUE]], [[*BLUE], [*BLUE]]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_and_stacks_give_the_first_frame(kind: str) -> None:
    first, second = PIL.Image.new("RGB", (4, 4), RED), PIL.Image.new("RGB", (4, 4), BLUE)
    pixels = pixels_of(first, kind, save_all=True, append_images=[second], lossless=True)
    np.testing.assert_array_equal(pixels, np.full((4, 4, 3), RED))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 7], [8, 9]], dtype=np.uint8), [0, 7, 8, 9]),
        (np.array([[[0], [7]], [[8], [9]]], dtype=np.uint8), [0, 7, 8, 9]),
        (np.array([[0, 255], [256, 65535]], dtype=np.uint16), [0, 0, 1, 255]),
        (np.array([[0, 255], [256, 65535]], dtype=">u2"), [0, 0, 1, 255]),
        (np.array([[True, False], [False, True]]), [255, 0, 0, 255]),
        (np.array([[0.0, 0.5], [0.998, 1.0]]), [0, 128, 254, 255]),
        (np.array([[0.0, 0.5], [0.25, 1.0]], dtype=np.float16), [0, 128, 64, 255]),
    ],
)
def test_arrays_of_each_kind(array: npt.NDArray[np.generic], expected: list[int]) -> None:
    pixels = load_image(array).pixels
    assert pixels.shape == (2, 2, 3)
    assert pixels[..., 1].ravel().tolist() == expected


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4), dtype=np.int64), r"int64 \(shape \(4, 4\)\)"),
        (np.zeros((4, 4), dtype=np.complex128), "complex128"),
        (np.full((4, 4), "x"), "dtype <U1"),
        (np.zeros((3, 40, 41), dtype=np.uint8), r"\(3, 40, 41\) \(uint8\)"),
        (np.zeros(16, dtype=np.uint8), r"\(16,\)"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), r"\(2, 4, 4, 3\)"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), r"outside \[0, 1\]"),
        (np.full((4, 4), 1.001), r"outside \[0, 1\]"),
        (np.full((4, 4), -0.001), r"outside \[0, 1\]"),
        (np.zeros((0, 0), dtype=np.uint8), "0 x 0 pixels"),
        (np.zeros((0, 0, 3), dtype=np.uint8), "0 x 0 pixels"),
        (np.zeros((5, 0, 3), dtype=np.uint8), "0 x 5 pixels"),
    ],
)
def test_arrays_that_are_no_images(array: npt.NDArray[np.generic], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        load_image(array, name="plate")
