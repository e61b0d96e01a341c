"""The benchmark of novelty: what its figures are where the images are known to be apart, or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.novelty import MILD, line_of, main, rows_of, told_apart
from consilience.evals.benchmarks.protocols import fitted_on
from consilience.evals.robustness.corruptions import CORRUPTIONS
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.retrieval.memory.labelled_images import LabelledImages

QUICK = load_settings(agents="neighbours,gaussian")
"""The feature agents that are fitted in no time."""

COLOURS = {"red": (190, 40, 40), "green": (40, 170, 50), "blue": (40, 60, 190)}


def around(axes: list[int], each: int, seed: int) -> np.ndarray:
    """Unit vectors (n, 8), `each` around each of these axes."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(np.eye(8)[axes], each, axis=0) + 0.1 * rng.normal(size=(len(axes) * each, 8))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


@pytest.fixture(scope="module")
def diagnoser() -> Iterator[Diagnoser]:
    """A panel of two labels, around the first two axes."""
    names = tuple(f"v{row}" for row in range(60))
    known = LabelledImages(names, ("a",) * 30 + ("b",) * 30, names, around([0, 1], 30, seed=0))
    with fitted_on(known, range(60), QUICK) as opened:
        yield opened


def test_images_around_another_axis_are_told_apart(diagnoser: Diagnoser) -> None:
    """But for ties: novelty and its signs are ranks, and a known image at their end is as novel as a new one."""
    result = told_apart(diagnoser, around([0, 1], 40, seed=1), around([5], 50, seed=2))
    assert (result.known, result.novel, result.novel_called) == (80, 50, 1.0)
    assert result.known_called < 0.15  # about 5 % are wished
    for detection in (result.score, result.signs["knn"]):
        assert detection.fpr_at_95 < 0.05
        assert detection.auroc >= 1 - detection.fpr_at_95 / 2 - 1e-9  # it ties with the new ones at most
    assert line_of("other axis", result).startswith(f"other axis: AUROC {result.score.auroc:.4f}, FPR at 95 %")


def test_images_of_the_same_kind_are_told_apart_by_chance_only(diagnoser: Diagnoser) -> None:
    result = told_apart(diagnoser, around([0, 1], 100, seed=3), around([0, 1], 100, seed=4))
    assert 0.4 < result.score.auroc < 0.6


def test_rows_of_labels() -> None:
    names = ("v0", "v1", "v2")
    labelled_images = LabelledImages(names, ("a", "b", "a"), names, around([0], 3, seed=0))
    assert rows_of(labelled_images, {"a"}).tolist() == [0, 2]


def draw(folder: Path, label: str, colour: tuple[int, int, int], count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, *colour])
    (folder / label).mkdir(parents=True)
    for number in range(count):
        pixels = np.clip(np.array(colour) + rng.integers(-30, 30, (48, 48, 3)), 0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / label / f"{number}.png")


@pytest.mark.slow
def test_the_command_measures_both_ways_each_label_left_out_and_mild_corruptions(tmp_path: Path) -> None:
    for seed, (part, count) in enumerate((("train", 6), ("val", 2), ("test", 2))):
        for label, colour in COLOURS.items():
            draw(tmp_path / "colours" / part, label, colour, count, seed)
    for label, brightness in (("dark", 40), ("light", 215)):
        draw(tmp_path / "greys", label, (brightness,) * 3, 12, 3)
    source, other, file = tmp_path / "colours", tmp_path / "greys", tmp_path / "figures.json"
    run = CliRunner().invoke(main, [str(source), "--other", str(other), "--json", str(file)])
    assert run.exit_code == 0, run.output
    figures = json.loads(file.read_text(encoding="utf-8"))
    worse = figures.pop("mild corruptions")
    assert set(worse) == {f"{name}-{strength}" for name in CORRUPTIONS for strength in MILD}
    both_ways = ["colours against greys", "greys against colours"]
    assert list(figures) == [*both_ways, *(f"without {label}" for label in sorted(COLOURS))]
    for what in both_ways:  # one of six known images may be as novel as the new ones, see above
        assert figures[what]["score"]["auroc"] > 0.9
    assert [(figure["known"], figure["novel"]) for figure in figures.values()] == [(6, 24), (12, 6), *[(4, 10)] * 3]
    assert "one label left out, mean AUROC" in run.output
    assert "known images called novel at strength 1" in run.output


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    for name in ("known", "other"):
        (tmp_path / name).mkdir()
    run = CliRunner().invoke(main, [str(tmp_path / "known"), "--other", str(tmp_path / "other")])
    assert run.exit_code == 1
    assert "known" in run.output
