"""Measures of an image by hand, and bounds that come from the known images alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from consilience.core.image_quality import FEW, MEASURES, SPREAD, QualityBounds, measured, widened
from consilience.core.images import Image, load_image
from tests.support.real_data import real_data

NAMES = list(MEASURES)


def grey(light: Any, size: int = 96) -> np.ndarray:
    """An image of one luminance, or of a luminance for each pixel."""
    return np.repeat(np.broadcast_to(np.asarray(light, np.uint8), (size, size))[:, :, None], 3, axis=2).copy()


def by_name(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, measured(pixels).tolist(), strict=True))


def leaf(seed: int, light: float = 120.0, size: int = 96) -> np.ndarray:
    """A picture with a texture such as photographs have."""
    rng = np.random.default_rng(seed)
    rough = np.kron(rng.normal(0, 0.25, (size // 4, size // 4)), np.ones((4, 4))) + rng.normal(0, 0.1, (size, size))
    return grey(np.clip(light * (1 + rough), 0, 255), size)


def test_one_grey_has_nothing_but_its_light() -> None:
    assert by_name(grey(100)) == pytest.approx(
        {
            "blankness": np.log(110.0),
            "darkness": -np.log(101.0),
            "brightness": -np.log(156.0),
            "clipping": 0.0,
            "missing": 0.0,
            "smallness": -np.log(96.0),
            "blur": 0.0,
            "drawn": 0.0,
        },
        rel=1e-5,
    )
    assert by_name(grey(255))["clipping"] == 1.0


@pytest.mark.parametrize("turns", range(4))
def test_a_quarter_that_is_missing_is_seen_from_every_side(turns: int) -> None:
    pixels = leaf(1)
    pixels[:24] = 128
    assert by_name(np.ascontiguousarray(np.rot90(pixels, turns)))["missing"] == pytest.approx(0.25)


def test_blur_is_the_variance_of_the_laplacian() -> None:
    """A single bright pixel: its Laplacian is 4 x, four times -x, and 0 elsewhere."""
    light = np.zeros((96, 96))
    light[40, 50] = 60
    around = np.zeros((94, 94))
    around[39, 49], around[38, 49], around[40, 49], around[39, 48], around[39, 50] = 240, -60, -60, -60, -60
    assert by_name(grey(light))["blur"] == pytest.approx(-np.log(1 + around.var()), rel=1e-5)


def test_windows_of_one_colour_are_drawn_and_a_photograph_is_not() -> None:
    window = grey(230, 192)
    window[40:150, 30:170] = 250
    window[60:64, 40:160] = 20
    assert by_name(window)["drawn"] > 0.5
    assert by_name(leaf(1))["drawn"] < 0.05


def test_a_large_photograph_measures_as_a_small_one() -> None:
    small = leaf(3)
    large = np.kron(small, np.ones((30, 30, 1), np.uint8))
    differ = {name for name in NAMES if abs(by_name(small)[name] - by_name(large)[name]) > 0.3}
    assert differ <= {"smallness", "drawn"}  # each pixel has become a square of one colour


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_every_image_can_be_measured(pixels: np.ndarray) -> None:
    values = measured(pixels)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    for name in ("clipping", "missing", "drawn"):
        assert 0.0 <= values[NAMES.index(name)] <= 1.0


def test_an_image_is_measured_once() -> None:
    image = Image.from_pixels(leaf(1))
    assert image.measures is image.measures
    np.testing.assert_array_equal(image.measures, measured(image.pixels))


def test_bounds_lie_beyond_the_extremes_by_a_share_of_the_spread_and_by_the_least() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 10, (400, len(NAMES))).astype(np.float32)
    values[:, 0] = 7.0  # no spread at all
    bounds = QualityBounds.of(values)
    assert bounds is not None
    extreme = np.quantile(values.astype(float), 0.999, axis=0)
    spread = (SPREAD + FEW / 400) * (extreme - np.median(values, axis=0))
    np.testing.assert_allclose(bounds.extreme, extreme)
    np.testing.assert_allclose(bounds.margin[1:], spread[1:])
    assert bounds.margin[0] == MEASURES["blankness"].least
    usual, odd = np.median(values, axis=0), np.median(values, axis=0)
    odd[1] = extreme[1] + 1.01 * spread[1]
    assert bounds.reason(usual) == ""
    assert bounds.reason(odd).startswith("Too dark")
    odd[1] = extreme[1] + 0.99 * spread[1]
    assert bounds.reason(odd) == ""


def test_blur_is_told_last() -> None:
    bounds = QualityBounds(np.zeros(len(NAMES)), np.ones(len(NAMES)))
    beyond = np.zeros(len(NAMES), np.float32)
    beyond[NAMES.index("blur")], beyond[NAMES.index("darkness")] = 9.0, 2.0
    assert bounds.reason(beyond).startswith("Too dark")
    beyond[NAMES.index("darkness")] = 0.0
    assert bounds.reason(beyond).startswith("Too blurred")


@pytest.mark.parametrize("light", [6.0, 30.0, 120.0, 230.0])
def test_a_panel_does_not_refuse_its_own_kind(light: float) -> None:
    """Photos by night and bright ones: what is usual is what the panel has."""
    bounds = QualityBounds.of(np.array([measured(leaf(seed, light)) for seed in range(60)]))
    assert bounds is not None
    assert [bounds.reason(measured(leaf(seed, light))) for seed in range(100, 150)] == [""] * 50


def test_what_cannot_be_judged_is_refused_with_the_reason() -> None:
    bounds = QualityBounds.of(np.array([measured(leaf(seed)) for seed in range(60)]))
    assert bounds is not None
    pixels = leaf(7)
    cut = pixels.copy()
    cut[48:] = 128
    reasons = {
        "Too dark": (pixels * 0.05).astype(np.uint8),
        "Too bright": np.clip(pixels.astype(int) * 4, 0, 255).astype(np.uint8),
        "Blank": grey(127),
        "Cut off": cut,
        "Too small": pixels[::6, ::6].copy(),
        "Too blurred": grey(100 + 40 * np.outer(np.sin(np.arange(96) / 15), np.cos(np.arange(96) / 15))),
    }
    assert {words: bounds.reason(measured(made))[: len(words)] for words, made in reasons.items()} == {
        words: words for words in reasons
    }


def test_bounds_widen_to_what_people_could_label_and_survive_json() -> None:
    bounds = QualityBounds.of(np.array([measured(leaf(seed)) for seed in range(60)]))
    assert bounds is not None
    dark = measured((leaf(7) * 0.05).astype(np.uint8))
    assert bounds.reason(dark)
    wide = widened(bounds, np.array([dark]))
    assert wide is not None
    assert wide.reason(dark) == ""
    same = widened(wide, np.empty((0, len(NAMES)), np.float32))
    assert same is not None
    assert same.extreme.tolist() == wide.extreme.tolist()
    assert widened(None, np.array([dark])) is None
    again = QualityBounds.from_dict(json.loads(json.dumps(wide.to_dict())))
    np.testing.assert_array_equal(again.extreme, wide.extreme)
    np.testing.assert_array_equal(again.margin, wide.margin)


def test_too_few_images_bound_nothing() -> None:
    for n in (0, 1):
        assert QualityBounds.of(np.zeros((n, len(NAMES)), np.float32)) is None


@pytest.mark.parametrize("value", [[0.0, 0.0], [float("nan"), 1.0], [0.0]])
def test_damaged_bounds_are_refused(value: list[float]) -> None:
    data = QualityBounds(np.zeros(len(NAMES)), np.ones(len(NAMES))).to_dict()
    with pytest.raises(ValueError, match=r"margins above 0|inhomogeneous|reshape|unpack"):
        QualityBounds.from_dict(data | {"blur": value})
    with pytest.raises(KeyError):
        QualityBounds.from_dict({name: pair for name, pair in data.items() if name != "blur"})


def test_the_given_cases_are_refused_beside_real_leaves() -> None:
    folder = real_data("apple-leaves")
    known = [load_image(path).measures for path in sorted((folder / "train").glob("*/*.jpg"))[::4]]
    bounds = QualityBounds.of(np.array(known))
    assert bounds is not None
    given = {
        path.stem: bounds.reason(load_image(path).measures) for path in real_data("faults/cannot-be-judged").iterdir()
    }
    starts = {"nearly-black": "Too dark", "washed-out": "Too bright", "blurred": "Too blurred"}
    starts |= {"blank": "Blank", "tiny": "Too small"}
    assert {name: reason[: len(starts[name])] for name, reason in given.items()} == starts
    test = [load_image(path).measures for path in sorted((folder / "test").glob("*/*.jpg"))[::4]]
    assert [bounds.reason(values) for values in test] == [""] * len(test)
