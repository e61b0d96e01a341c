"""Photos that are taken again: the light follows from the stops, the place from the crop, all from image and number."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from consilience.core.images import Image
from consilience.evals.benchmarks.retaken import COPIES, SOURCES, cropped, exposed, resized, retaken


def photo(seed: int = 0) -> Image:
    """A smooth picture of random colours, 80 x 96."""
    knots = np.random.default_rng(seed).integers(40, 200, (5, 6, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(knots).resize((96, 80), PIL.Image.Resampling.BICUBIC)
    return Image.from_pixels(np.asarray(picture))


def difference(a: Image, b: Image) -> float:
    """Mean difference of pixels in standard deviations, whatever the size, light and colour of each."""
    pictures = [np.asarray(PIL.Image.fromarray(image.pixels).resize((96, 80)), dtype=float) for image in (a, b)]
    first, second = ((levels - levels.mean(axis=(0, 1))) / levels.std(axis=(0, 1)) for levels in pictures)
    return float(np.abs(first - second).mean())


def test_a_stop_doubles_the_light_and_no_light_is_over_white() -> None:
    grey = np.array([[[0, 50, 100]], [[150, 200, 255]]], dtype=np.uint8)
    # (level / 255) ** 2.2 is the light: twice of it is 2 ** (1 / 2.2) = 1.3704 times the level
    assert exposed(grey, 1.0).ravel().tolist() == [0, 69, 137, 206, 255, 255]
    assert exposed(grey, 0.0).tolist() == grey.tolist()
    assert exposed(grey, 0.0, (1.0, 2.0, 0.5)).ravel().tolist() == [0, 69, 73, 150, 255, 186]


def test_a_crop_is_the_named_part_in_the_size_of_the_whole() -> None:
    quarters = np.zeros((40, 60, 3), dtype=np.uint8)
    quarters[:20, 30:], quarters[20:, :30], quarters[20:, 30:] = 60, 120, 180
    corners = {(0.0, 0.0): 0, (0.0, 1.0): 60, (1.0, 0.0): 120, (1.0, 1.0): 180}
    for place, level in corners.items():
        part = cropped(quarters, 0.5, place)
        assert part.shape == (40, 60, 3)
        assert (part == level).all()
    assert np.array_equal(cropped(quarters, 1.0, (0.5, 0.5)), quarters)
    assert resized(quarters, 0.25).shape == (10, 15, 3)


@pytest.mark.parametrize("how", [*COPIES, *SOURCES])
def test_a_photo_taken_again_still_shows_the_same(how: str) -> None:
    first, other = photo(0), photo(1)
    again = retaken(first, how)
    assert again.identity != first.identity
    assert difference(first, again) < 0.75 * difference(first, other)


@pytest.mark.parametrize("how", COPIES)
def test_each_number_is_another_copy_and_always_the_same_one(how: str) -> None:
    copies = [retaken(photo(), how, number) for number in range(4)]
    assert copies[0].identity == photo().identity
    assert len({copy.identity for copy in copies}) == 4
    assert [retaken(photo(), how, number).identity for number in range(4)] == [copy.identity for copy in copies]


def test_another_camera_is_warmer_and_a_darker_room_is_darker_for_every_photo() -> None:
    for seed in range(3):
        plain = photo(seed).pixels.mean(axis=(0, 1))
        camera, room = (retaken(photo(seed), how).pixels.mean(axis=(0, 1)) for how in ("other-camera", "darker-room"))
        assert camera[0] / camera[2] > 1.2 * plain[0] / plain[2]
        assert room.mean() < 0.65 * plain.mean()  # a quarter of the light is 0.53 of the level
