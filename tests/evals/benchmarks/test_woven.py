"""The benchmark of small defects: what its cloth is, what a defect covers, and that it runs."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import numpy as np
import pytest

from consilience.evals.benchmarks.woven.__main__ import ClothAccuracy, main, text_of
from consilience.evals.benchmarks.woven.woven_images import (
    AREA,
    LABELS,
    SIDE,
    WEAVES,
    Cloth,
    cloths,
    drawn_defect,
    thread_places,
    woven,
)


def test_every_draw_follows_from_its_seed() -> None:
    (first,), (again,), (other,) = ([*cloths(1, seed)] for seed in (3, 3, 4))
    assert [*first] == [*LABELS]
    for label in LABELS:
        assert first[label].shape == (SIDE, SIDE, 3)
        np.testing.assert_array_equal(first[label], again[label])
        assert (first[label] != other[label]).mean() > 0.9


@pytest.mark.parametrize("name", WEAVES)
def test_each_thread_of_a_weave_goes_over_and_under(name: str) -> None:
    weave = np.array(WEAVES[name])
    for lines in (weave, weave.T):
        assert set(lines.min(axis=1)) == {0}
        assert set(lines.max(axis=1)) == {1}


@pytest.mark.parametrize("label", LABELS[1:])
def test_a_defect_covers_one_to_three_hundredths_of_the_area(label: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cloth = Cloth.drawn(rng)
        across, along = thread_places(cloth, rng)
        defect = drawn_defect(cloth, label, across, along, rng)
        assert defect is not None
        assert AREA[0] * 0.8 < defect.of.mean() < AREA[1] * 1.2  # threads wander, and torn ends are uneven
        wide = np.unique(np.floor(across[defect.of])).size
        assert wide >= {"missing": 1, "doubled": 2, "broken": 2}[label]


def test_where_threads_of_one_kind_are_missing_the_other_kind_shows() -> None:
    """In plain weave as much of one as of the other lies on top, wherever no thread is missing."""
    rng = np.random.default_rng(0)
    red_and_blue = Cloth(np.array(WEAVES["plain"]), 12.0, 0.9, 0.0, np.array([[200.0, 40, 80], [80, 40, 200]]))

    def imbalance(label: str) -> float:
        made = [woven(red_and_blue, label, rng).astype(int) for _ in range(6)]
        return float(np.mean([abs(np.sign(pixels[..., 0] - pixels[..., 2]).mean()) for pixels in made]))

    sound = imbalance("sound")
    assert imbalance("missing") > sound + AREA[0] / 2


def test_eyes_are_compared_cloth_by_cloth() -> None:
    found = [
        ClothAccuracy("a", 0, {"probe": 0.5, "fusion": 0.5}, dict.fromkeys(LABELS, 0.5), (0.5, 0.25, 0.75, 0.5)),
        ClothAccuracy(
            "a + b", 0, {"probe@a": 0.5, "fusion": 0.75}, dict.fromkeys(LABELS, 0.75), (0.75, 0.5, 1.0, 0.75)
        ),
    ]
    text = text_of(found)
    assert "a: accuracy 0.500 (" in text
    assert "beyond the first: 0.250 (0.250 to 0.250)" in text  # each cloth by as much: there is no doubt


def test_eyes_that_are_not_there_are_named() -> None:
    result = click.testing.CliRunner().invoke(
        main, ["--eyes", "crystal", "--cloths", "2", "--judged", "1", "--draws", "1"]
    )
    assert result.exit_code == 1
    assert "There is no encoder 'crystal'" in result.output


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--cloths", "10", "--judged", "3", "--draws", "1", "--json", str(file)]
    result = click.testing.CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(file.read_text())
    assert len(found["right"]) == 3
    assert {"probe", "gaussian", "fusion"} <= found["accuracy"].keys()
