"""How well an encoder separates labels, on images for which it can be said beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from consilience.core.errors import DatasetError
from consilience.core.settings.settings import load_settings
from consilience.evals.separation import separation

EACH = 12


def painted(folder: Path, colours: dict[str, tuple[int, int, int]]) -> Path:
    """Noise of a colour for each label."""
    rng = np.random.default_rng(0)
    for label, colour in colours.items():
        (folder / label).mkdir(parents=True)
        for number in range(EACH):
            pixels = np.array(colour) + rng.integers(-15, 16, (40, 40, 3))
            PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number}.png")
    return folder


def test_labels_of_different_colours_are_separated_and_equal_ones_are_not(tmp_path: Path) -> None:
    settings = load_settings()
    apart = painted(tmp_path / "apart", {"red": (200, 40, 40), "blue": (40, 40, 200)})
    (apart / "green").mkdir()
    PIL.Image.new("RGB", (40, 40), (40, 200, 40)).save(apart / "green" / "only.png")  # there is none to judge it by
    separated = separation("efficientnet-lite0", apart, settings)
    assert (separated.accuracy, separated.images, separated.folds) == (1.0, 2 * EACH + 1, EACH)
    assert separated.nearest == 2 * EACH / (2 * EACH + 1)
    assert separated.high == 1.0
    assert separated.low == pytest.approx(24 / (24 + 1.959964**2))  # Wilson's bound where all are right
    same = separation(
        "efficientnet-lite0", painted(tmp_path / "same", {"one": (90, 90, 90), "other": (90, 90, 90)}), settings
    )
    assert same.accuracy < 0.8
    assert same.nearest < 0.8
    assert (same.dimension, same.weight_bytes > 10**7) == (1280, True)
    assert same.images_per_second > 0


def test_one_image_of_each_label_is_too_few(tmp_path: Path) -> None:
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        (tmp_path / label).mkdir()
        PIL.Image.new("RGB", (40, 40), colour).save(tmp_path / label / "only.png")
    with pytest.raises(DatasetError, match="has one image of each label, and none is left to judge by: add images"):
        separation("efficientnet-lite0", tmp_path, load_settings())


def test_vectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds vectors that are made already"):
        separation("efficientnet-lite0", tmp_path / "some.npz", load_settings())
