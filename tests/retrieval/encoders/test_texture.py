"""Texture and colour, against histograms counted by hand and what they must not care about."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.core.images import Image
from consilience.retrieval.encoders.open_encoder import open_encoder
from tests.support.lazy_module import lazy_module

texture = lazy_module("consilience.retrieval.encoders.texture")
RNG = np.random.default_rng(5)
COLOUR, PAIRS, PATTERNS, CONTRAST = slice(0, 45), slice(45, 166), slice(166, 206), slice(206, 266)


@pytest.fixture(scope="module")
def encoder() -> object:
    pytest.importorskip("skimage")
    return texture.Texture()


def vector(encoder: object, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(encoder.encode([Image.from_pixels(pixels.astype(np.uint8), "made")])[0])  # type: ignore[attr-defined]


def noise(size: int = 224) -> np.ndarray:
    return RNG.integers(0, 256, (size, size, 1)).repeat(3, axis=2)


def test_half_white_and_half_black_are_counted(encoder: object) -> None:
    pixels = np.zeros((224, 224, 3))
    pixels[:112] = 255
    shares = vector(encoder, pixels) ** 2
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    light = shares[:15] * 4 * 3  # of four kinds, and of three histograms of colour
    np.testing.assert_allclose(light, np.eye(15)[0] / 2 + np.eye(15)[14] / 2, atol=1e-5)
    np.testing.assert_allclose(shares[PAIRS].reshape(11, 11)[5, 5] * 4, 1, atol=1e-5)  # neither has a colour


def test_colour_is_seen_where_the_texture_is_the_same(encoder: object) -> None:
    grey = noise() // 2
    red, blue = grey.copy(), grey.copy()
    red[..., 0] += 60
    blue[..., 2] += 60
    one, other = vector(encoder, red), vector(encoder, blue)
    assert one[PAIRS] @ other[PAIRS] < 0.1 * one[PAIRS] @ one[PAIRS]
    assert one[PATTERNS] @ other[PATTERNS] > 0.97 * one[PATTERNS] @ one[PATTERNS]


def test_texture_is_seen_where_the_colours_are_the_same(encoder: object) -> None:
    pixels = noise()
    smooth = np.sort(pixels.ravel()).reshape(pixels.shape)  # the same greys, in order
    one, other = vector(encoder, pixels), vector(encoder, smooth)
    assert one[COLOUR] @ other[COLOUR] > 0.95 * one[COLOUR] @ one[COLOUR]
    assert one[CONTRAST] @ other[CONTRAST] < 0.6 * one[CONTRAST] @ one[CONTRAST]


def test_a_turned_or_mirrored_image_is_the_same(encoder: object) -> None:
    pixels = RNG.integers(0, 256, (224, 224, 3))
    whole = vector(encoder, pixels)
    for other in (pixels[::-1], pixels[:, ::-1]):
        assert whole @ vector(encoder, other) > 0.999


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (224, 224)])
def test_any_size_gives_a_vector_of_unit_length(encoder: object, shape: tuple[int, int]) -> None:
    made = vector(encoder, RNG.integers(0, 256, (*shape, 3)))
    assert made.shape == (266,)
    assert np.linalg.norm(made) == pytest.approx(1, abs=1e-5)


def test_it_is_opened_by_name_and_beside_others() -> None:
    pytest.importorskip("skimage")
    both = open_encoder("texture + precomputed:4")
    assert [(eye.name, eye.start, eye.stop) for eye in both.eyes] == [("texture", 0, 266), ("4", 266, 270)]
