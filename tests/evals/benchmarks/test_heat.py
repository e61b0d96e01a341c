"""The benchmark of heat maps: where the patch is, what counts as a hit, and that it runs."""

from __future__ import annotations

from pathlib import Path

import click.testing
import numpy as np
import PIL.Image
import pytest

from consilience.core.images import Image
from consilience.evals.benchmarks import heat
from consilience.evals.benchmarks.heat import by_cell, gradually, hit, main, patched


def test_the_patch_is_where_it_is_said_to_be_and_covers_the_centre_as_often_as_chance() -> None:
    rng, centred = np.random.default_rng(3), 0
    base, donor = np.zeros((60, 80, 3), np.uint8), np.full((50, 50, 3), 200, np.uint8)
    for _ in range(400):
        made = patched(base, donor, "a", 0.45, rng)
        top, bottom, left, right = made.box
        assert (bottom - top, right - left) == (27, 36)
        assert (made.pixels[top:bottom, left:right] == 200).all()
        assert (made.pixels == 200).all(axis=2).sum() == 27 * 36
        centred += (made.pixels[30, 40] == 200).all()
    assert centred / 400 == pytest.approx(0.45**2, abs=0.06)


def test_a_map_hits_where_it_is_strongest() -> None:
    grid = np.zeros((70, 70))
    grid[35, 20] = 1.0
    assert hit(grid, (30, 40, 15, 25))
    assert not hit(grid, (30, 35, 15, 25))
    assert by_cell(grid).argmax() == 3 * 7 + 2


def test_cells_are_blurred_and_uncovered_in_their_order() -> None:
    image = Image.from_pixels(np.random.default_rng(1).integers(0, 256, (70, 70, 3)).astype(np.uint8))
    order = np.arange(49)
    blurred, uncovered = ([*gradually(image, order, uncovered=way)] for way in (False, True))
    assert len(blurred) == len(uncovered) == 8
    for first, last in ((blurred[0], uncovered[-1]), (uncovered[0], blurred[-1])):
        np.testing.assert_array_equal(first.pixels, last.pixels)
    np.testing.assert_array_equal(blurred[0].pixels, image.pixels)
    changed = (blurred[1].pixels != image.pixels).any(axis=2)
    assert changed[:10].mean() > 0.95  # the first row of cells, and no more
    assert not changed[10:].any()


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        PIL.Image.new("RGB", (20, 20)).save(tmp_path / label / "one.png")
    result = click.testing.CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1
    assert "take 16 or more" in result.output


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for label, colour in (("green", (40, 180, 40)), ("red", (200, 40, 40))):
        (tmp_path / label).mkdir()
        for number in range(12):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 40, (48, 48, 3)), 0, 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    monkeypatch.setattr(heat, "LEARNED", 40)
    figures = heat.figures_of(tmp_path, 0.45, 3, 1, "report", 0)
    assert figures.images == 3
    assert [*figures.maps] == ["activation", "occlusion", "centre", "random"]
    for found in figures.maps.values():
        assert 0 <= found.hits_of_right <= found.hits <= 3
        assert 0.0 <= found.deletion <= 1.0
