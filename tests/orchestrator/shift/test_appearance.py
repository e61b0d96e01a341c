"""What differs between pictures, in words, with figures worked out by hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from consilience.orchestrator.shift.appearance import Appearance, appearance, appearance_of_file, differences


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def noise(seed: int, low: int = 0, high: int = 255) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (48, 64, 3), dtype=np.uint8)


def test_the_figures_of_a_plain_picture_are_those_of_its_colour() -> None:
    figures = appearance(jpeg(np.full((40, 40, 3), (200, 100, 50), np.uint8))).figures
    assert figures["brightness"] == pytest.approx((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, abs=0.01)
    assert figures["saturation"] == pytest.approx(150 / 255, abs=0.02)
    assert figures["warmth"] == pytest.approx(150 / 255, abs=0.02)
    assert figures["contrast"] < 0.01
    assert "size" not in figures


def test_darker_blurred_and_smaller_pictures_are_called_so() -> None:
    labelled = [appearance(jpeg(noise(seed)), 640) for seed in range(12)]
    soft = [np.asarray(PIL.Image.fromarray(noise(seed)).resize((16, 12)).resize((64, 48))) // 3 for seed in range(12)]
    new = [appearance(jpeg(pixels.astype(np.uint8)), 120) for pixels in soft]
    told = {difference.what: difference for difference in differences(new, labelled)}
    assert told["brightness"].words == "darker"
    assert told["sharpness"].words == "more blurred"
    assert told["size"].words == "smaller"
    assert (told["size"].new, told["size"].labelled, told["size"].chance) == (120, 640, 0)
    assert "camera" not in told


def test_equal_pictures_and_too_few_of_them_differ_in_nothing() -> None:
    some = [appearance(jpeg(noise(seed))) for seed in range(12)]
    others = [appearance(jpeg(noise(seed))) for seed in range(100, 112)]
    assert differences(some, others) == []
    assert differences([], others) == []
    assert differences([appearance(jpeg(noise(1) // 4))] * 3, others) == []


def test_another_camera_is_named() -> None:
    ours, theirs = [Appearance({}, "Canon A")] * 9, [Appearance({}, "Motic B")] * 9
    (difference,) = differences(theirs, ours)
    assert (difference.words, difference.new, difference.labelled) == ("another camera", "Motic B", "Canon A")
    assert differences(ours, ours) == []
    assert differences(theirs, [Appearance({})] * 9) == []


def test_sizes_come_from_files_that_are_still_there(tmp_path: Path) -> None:
    thumbnail = jpeg(noise(0))
    PIL.Image.fromarray(noise(0)).resize((640, 480)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    there = appearance_of_file(thumbnail, str(tmp_path / "large.png"))
    assert there is not None
    assert there.figures["size"] == 640
    for gone in (str(tmp_path / "gone.png"), str(tmp_path / "broken.png"), "https://example.org/x.png", "\0"):
        without = appearance_of_file(thumbnail, gone)
        assert without is not None
        assert "size" not in without.figures
    assert appearance_of_file(None, str(tmp_path / "large.png")) is None


def test_a_picture_of_one_pixel_has_an_appearance() -> None:
    assert np.isfinite([*appearance(jpeg(np.zeros((1, 1, 3), np.uint8))).figures.values()]).all()
