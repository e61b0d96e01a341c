"""Photos of iPhones: read with the extra, and named without it."""

from __future__ import annotations

import io
import sys

import numpy as np
import PIL.Image
import pytest

from consilience.core.errors import ImageError
from consilience.core.image_limits import ImageLimits
from consilience.core.images import load_image

HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"'IMG_1\.jpg' is HEIC: .*consilience\[heic\].*; or convert it to JPEG"):
        load_image(HEAD, name="IMG_1.jpg")


def test_it_is_read_upright_within_limits() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    blocks = np.kron(np.array([[0, 80, 120], [160, 200, 240]], dtype=np.uint8), np.ones((32, 32), dtype=np.uint8))
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Apple"
    file = io.BytesIO()
    pillow_heif.from_pillow(PIL.Image.fromarray(blocks).convert("RGB")).save(file, quality=95, exif=exif.tobytes())
    image = load_image(file.getvalue())
    np.testing.assert_allclose(image.pixels[16::32, 16::32, 0], [[160, 0], [200, 80], [240, 120]], atol=8)
    assert image.shot.camera == "Apple"
    with pytest.raises(ImageError, match="at most 100 are allowed"):
        load_image(file.getvalue(), ImageLimits(max_pixels=100))
    for length in (40, 200, len(file.getvalue()) // 2):
        with pytest.raises(ImageError, match="truncated or damaged"):
            load_image(file.getvalue()[:length])
