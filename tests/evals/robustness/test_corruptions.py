"""Pictures made worse: what is known of each corruption, and that it is the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.core.images import Image
from consilience.evals.robustness.corruptions import CORRUPTIONS, STRENGTHS, background, corrupted


def photo(height: int = 96, width: int = 128) -> Image:
    """A bright disc with some texture on a dark, plain ground."""
    y, x = np.ogrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 3) ** 2
    pixels = np.full((height, width, 3), (10, 12, 8), np.uint8)
    texture = np.random.default_rng(0).integers(100, 220, (height, width, 3), dtype=np.uint8)
    return Image.from_pixels(np.where(disc[:, :, None], texture, pixels), "photo")


def distance(image: Image, other: Image) -> float:
    return float(np.abs(image.pixels.astype(float) - other.pixels).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_the_same_each_time_and_keeps_the_size(name: str) -> None:
    once, again = corrupted(photo(), name, 3), corrupted(photo(), name, 3)
    assert once.identity == again.identity != photo().identity
    assert once.pixels.shape == photo().pixels.shape
    assert once.source == "photo"


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("jpeg", "rotation")])
def test_a_greater_strength_is_further_from_the_image(name: str) -> None:
    clean = photo()
    distances = [distance(clean, corrupted(clean, name, strength)) for strength in STRENGTHS]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_a_worse_jpeg_loses_more() -> None:
    """From one quality to the next, not always in every picture."""
    clean = photo()
    assert 0 < distance(clean, corrupted(clean, "jpeg", 1)) < distance(clean, corrupted(clean, "jpeg", 5))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(2, 2), (2, 50), (31, 3)])
def test_images_however_small_can_be_made_worse(name: str, size: tuple[int, int]) -> None:
    for strength in STRENGTHS:
        assert corrupted(photo(*size), name, strength).pixels.shape == (*size, 3)


def test_noise_has_the_standard_deviation_of_imagenet_c() -> None:
    grey = Image.from_pixels(np.full((200, 200, 3), 128, np.uint8))
    assert corrupted(grey, "noise", 1).pixels.std() == pytest.approx(0.08 * 255, rel=0.02)


def test_two_images_get_another_noise() -> None:
    grey = [Image.from_pixels(np.full((50, 50, 3), level, np.uint8)) for level in (120, 130)]
    first, second = (corrupted(image, "noise", 1).pixels.astype(int) - image.pixels for image in grey)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.1


def test_a_blur_is_as_wide_as_the_picture_is_large() -> None:
    """A bright column spreads over twice as many pixels in a picture of twice the size."""
    widths = []
    for side in (224, 448):
        pixels = np.zeros((side, side, 3), np.uint8)
        pixels[:, side // 2 : side // 2 + 1] = 255
        profile = corrupted(Image.from_pixels(pixels), "blur", 5).pixels[side // 2, :, 0].astype(float)
        place = np.arange(side)
        mean = (place * profile).sum() / profile.sum()
        widths.append(np.sqrt(((place - mean) ** 2 * profile).sum() / profile.sum()))
    assert widths[0] == pytest.approx(6.0, rel=0.2)
    assert widths[1] / widths[0] == pytest.approx(2.0, rel=0.1)


def test_exposure_goes_either_way_and_keeps_it() -> None:
    """Half of 40 greys become brighter, the others darker, by half the range at strength 5."""
    shifts = []
    for level in range(100, 140):
        grey = Image.from_pixels(np.full((4, 4, 3), level, np.uint8))
        weak, strong = (corrupted(grey, "exposure", strength).pixels.mean() - level for strength in (1, 5))
        assert np.sign(weak) == np.sign(strong)
        assert abs(weak) == pytest.approx(25.5, abs=1)
        shifts.append(float(np.sign(strong)))
    assert 8 <= shifts.count(1.0) <= 32


def test_an_occlusion_covers_its_share() -> None:
    black = Image.from_pixels(np.zeros((100, 200, 3), np.uint8))
    shares = [(corrupted(black, "occlusion", strength).pixels == 128).all(axis=2).mean() for strength in STRENGTHS]
    assert shares == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.45], abs=0.01)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    turned = corrupted(Image.from_pixels(pixels), "rotation", 5).pixels
    assert any(np.array_equal(turned, np.rot90(pixels, times)) for times in (1, 3))


def test_what_surrounds_a_smaller_picture_has_the_border_colour() -> None:
    small = corrupted(photo(), "scale", 5).pixels
    assert (small[:30] == (10, 12, 8)).all()
    assert small[36:60, 48:80].max() > 100


def test_the_background_is_replaced_and_the_object_is_not() -> None:
    clean, other = photo(), corrupted(photo(), "background", 5)
    ground = background(clean.pixels)
    assert ground[0, 0]
    assert not ground[48, 64]
    assert np.array_equal(other.pixels[~ground], clean.pixels[~ground])
    assert np.abs(other.pixels[ground].astype(int) - clean.pixels[ground]).mean() > 20


def test_without_a_plain_border_the_background_is_outside_the_ellipse() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    ground = background(noise)
    assert ground.mean() == pytest.approx(1 - np.pi / 4, abs=0.03)
    assert ground[0, 0]
    assert not ground[30, 40]
