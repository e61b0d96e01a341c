"""TIFF files of many bands, written here by hand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image
from tests.support.real_data import real_data

HEIGHT, WIDTH = 21, 37


def scene(count: int, dtype: str) -> npt.NDArray[Any]:
    values = np.random.default_rng(count).integers(0, 250, (HEIGHT, WIDTH, count))
    return (values / 256).astype(dtype) if dtype == "f4" else values.astype(dtype)


def tiff(
    values: npt.NDArray[Any],
    *,
    order: Literal["<", ">"] = "<",
    planar: bool = False,
    deflate: bool = False,
    predict: bool = False,
    tile: int = 0,
    photometric: int = 1,
    big: bool = False,
    extra: dict[int, int] | None = None,
) -> bytes:
    """A TIFF as the specification says, in strips of 8 rows, or in square tiles."""
    height, width, count = values.shape
    layers = [values[:, :, [band]] for band in range(count)] if planar else [values]
    pieces = []
    for layer in layers:
        if tile:
            down, across = -height % tile, -width % tile
            padded = np.pad(layer, ((0, down), (0, across), (0, 0)))
            pieces += [
                padded[top : top + tile, left : left + tile]
                for top in range(0, height, tile)
                for left in range(0, width, tile)
            ]
        else:
            pieces += [layer[top : top + 8] for top in range(0, height, 8)]
    if predict:
        pieces = [np.diff(piece, axis=1, prepend=np.zeros_like(piece[:, :1])) for piece in pieces]
    stored = [piece.astype(piece.dtype.newbyteorder(order)).tobytes() for piece in pieces]
    stored = [zlib.compress(piece) for piece in stored] if deflate else stored
    head = 16 if big else 8
    starts = [head + sum(map(len, stored[:number])) for number in range(len(stored))]
    sizes = [*map(len, stored)]
    tags: dict[int, list[int]] = {256: [width], 257: [height], 258: [8 * values.dtype.itemsize] * count}
    tags |= {259: [8 if deflate else 1], 262: [photometric], 277: [count], 284: [2 if planar else 1]}
    tags |= {317: [2 if predict else 1], 339: [3 if values.dtype.kind == "f" else 1] * count}
    tags |= {322: [tile], 323: [tile], 324: starts, 325: sizes} if tile else {273: starts, 278: [8], 279: sizes}
    tags |= {tag: [number] for tag, number in (extra or {}).items()}
    body = b"".join(stored)
    place = head + len(body)
    unit, entry, length = ("Q", "HHQ", 8) if big else ("I", "HHI", 4)
    after = place + struct.calcsize(f"={'Q' if big else 'H'}") + len(tags) * (12 if not big else 20) + length
    index, long = struct.pack(order + ("Q" if big else "H"), len(tags)), b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > length:
            index += struct.pack(order + entry + unit, tag, 4, len(numbers), after + len(long))
            long += packed
        else:
            index += struct.pack(order + entry, tag, 4, len(numbers)) + packed.ljust(length, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head_bytes = mark + (struct.pack(order + "HHHQ", 43, 8, 0, place) if big else struct.pack(order + "HI", 42, place))
    return head_bytes + body + index + bytes(length) + long


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("packed", ["", "deflate", "deflate and predict"])
def test_three_bands_of_five(dtype: str, order: Literal["<", ">"], planar: bool, tile: int, packed: str) -> None:
    if dtype == "f4" and "predict" in packed:
        return  # differences are of whole numbers
    values = scene(5, dtype)
    data = tiff(values, order=order, planar=planar, tile=tile, deflate="deflate" in packed, predict="predict" in packed)
    if (dtype, order, packed) == ("f4", ">", "deflate"):
        with pytest.raises(ImageError, match="in a way that is not read; save it uncompressed"):
            load_image(data)
        return
    for chosen in ((1, 2, 3), (5, 3, 1)):
        image = load_image(data, ImageLimits(bands=chosen))
        bands = values[:, :, [band - 1 for band in chosen]]
        expected = np.rint(bands * 255) if dtype == "f4" else bands
        np.testing.assert_array_equal(image.pixels, expected.astype(np.uint8))


def test_it_is_said_which_bands_are_shown() -> None:
    data = tiff(scene(5, "u1"))
    assert load_image(data).note == "5 bands: 1, 2 and 3 are shown as red, green and blue (images.bands)"
    assert load_image(data, ImageLimits(bands=(4, 2, 1))).note.startswith("5 bands: 4, 2 and 1 are shown")
    deep = load_image(tiff(scene(5, "u2") * np.uint16(16))).note
    assert "1, 2 and 3 are shown" in deep
    assert "12 bits in 16" in deep


def test_a_band_that_is_not_there() -> None:
    with pytest.raises(ImageError, match=r"'field\.tif' has no band 6, but 5: choose others with bands"):
        load_image(tiff(scene(5, "u1")), ImageLimits(bands=(6, 1, 2)), name="field.tif")


@pytest.mark.parametrize("count", [3, 4, 5, 12])
def test_any_number_of_bands(count: int) -> None:
    values = scene(count, "u1")
    np.testing.assert_array_equal(load_image(tiff(values)).pixels, values[:, :, :3])


def test_big_tiff_and_orientation() -> None:
    values = scene(5, "u1")
    np.testing.assert_array_equal(load_image(tiff(values, big=True)).pixels, values[:, :, :3])
    turned = load_image(tiff(values, extra={274: 6})).pixels
    np.testing.assert_array_equal(turned, np.rot90(values[:, :, :3], -1))


@pytest.mark.parametrize("order", ["<", ">"])
def test_twelve_bits_a_colour_in_sixteen_are_not_shown_nearly_black(order: Literal["<", ">"]) -> None:
    values = scene(3, "u2") * np.uint16(16)
    image = load_image(tiff(values, photometric=2, order=order))
    np.testing.assert_array_equal(image.pixels, values >> 4)
    assert image.note.startswith("taken as 12 bits in 16")


def test_bands_over_a_limit_or_damaged() -> None:
    data = tiff(scene(5, "u1"))
    with pytest.raises(ImageError, match="37 x 21 pixels; at most 700 are allowed"):
        load_image(data, ImageLimits(max_pixels=700))
    with pytest.raises(ImageError, match=r"9,324 values in 12 bands"):
        load_image(tiff(scene(12, "u1")), ImageLimits(max_pixels=800))
    with pytest.raises(ImageError, match=r"damaged|truncated"):
        load_image(tiff(scene(5, "u1"), deflate=True)[:300])
    for cut in range(0, len(data), 97):
        with pytest.raises(ImageError):
            load_image(data[:cut] or b"II*\0")
    index = data.rindex(struct.pack("<HHI", 256, 4, 1))
    huge = data[:index] + struct.pack("<HHII", 256, 4, 1, 2**31) + data[index + 12 :]
    with pytest.raises(ImageError, match="pixels"):
        load_image(huge)


def test_predictors_and_compressions_that_are_not_read_are_named() -> None:
    with pytest.raises(ImageError, match="predictor 3"):
        load_image(tiff(scene(5, "f4"), extra={317: 3}))
    with pytest.raises(ImageError, match="5 bands in a way that is not read"):
        load_image(tiff(scene(5, "u1"), extra={259: 7}))


def test_plain_tiffs_are_read_as_before() -> None:
    picture = PIL.Image.fromarray(scene(3, "u1"))
    for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        file = io.BytesIO()
        picture.save(file, "TIFF", compression=kind)
        image = load_image(file.getvalue())
        np.testing.assert_array_equal(image.pixels, scene(3, "u1"))
        assert image.note == ""


def test_the_file_that_was_reported() -> None:
    assert load_image(real_data("faults") / "images" / "five-bands.tiff").pixels.mean() > 20
