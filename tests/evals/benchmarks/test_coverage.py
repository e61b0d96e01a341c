"""The benchmark of prediction sets: what its figures are where the truth about the labels is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.coverage import all_records, covered, main, of_exact_sets
from consilience.retrieval.memory.labelled_images import LabelledImages

QUICK = load_settings(agents="neighbours,gaussian")
"""The feature agents that are fitted in no time."""


def labelled_images(apart: float, each: int = 60, seed: int = 0) -> LabelledImages:
    """Vectors of two labels whose means are `apart`, in standard deviations."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], each)
    vectors = rng.normal(size=(2 * each, 8)) + apart * np.eye(2, 8)[labels] + 3.0 * np.eye(8)[7]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(f"v{row}" for row in range(2 * each))
    return LabelledImages(names, tuple(np.array(["a", "b"])[labels].tolist()), names, vectors.astype(np.float32))


def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(0, n, 2), np.arange(1, n, 2)


def test_sets_of_labels_that_are_far_apart_hold_the_truth_and_nothing_else() -> None:
    split = covered(labelled_images(20.0), *halves(120), QUICK)
    assert (split.sets.n, split.sets.coverage, split.sets.mean_size) == (60, 1.0, 1.0)
    assert split.strict.covered <= split.sets.covered
    assert split.strict.mean_size is not None
    assert split.strict.mean_size <= 1.0  # a set may be left empty where the most probable label is excluded


@pytest.mark.slow
def test_sets_of_labels_that_overlap_hold_the_truth_about_as_often_as_the_target_and_often_both() -> None:
    draws = [covered(labelled_images(1.5, each=100, seed=seed), *halves(200), QUICK) for seed in range(8)]
    coverage = np.mean([split.strict.coverage or 0.0 for split in draws])
    assert abs(coverage - QUICK.policy.coverage) < 0.03
    assert 1.2 < np.mean([split.sets.mean_size or 0.0 for split in draws]) < 2.0


@pytest.mark.slow
def test_exact_sets_cover_the_target_in_95_percent_of_splits_only_where_they_rest_on_very_many_images() -> None:
    held = np.arange(100) % 2
    many, few = (of_exact_sets(np.arange(n) % 2, held, 0.95, seed=0) for n in (4_000, 100))
    assert many == pytest.approx(0.95, abs=0.03)  # Wilson's interval of 100 images, itself not exact
    assert few < many - 0.05


def test_the_images_of_test_count_as_well_where_there_are_some(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        for label, brightness in (("dark", 40), ("light", 160)):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = (brightness + rng.integers(0, 60, (64, 64, 3))).astype(np.uint8)
                PIL.Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png")
    images = all_records(tmp_path, QUICK)
    assert (images.labels.count("dark"), images.labels.count("light")) == (6, 6)
    assert sum("test" in Path(source).parts for source in images.sources) == 4


def save(known: LabelledImages, file: Path) -> Path:
    np.savez(file, embeddings=known.vectors, labels=known.labels, names=known.ids)
    return file


@pytest.mark.slow
def test_the_command_says_the_target_and_what_came_of_it(tmp_path: Path) -> None:
    source = save(labelled_images(20.0, each=30), tmp_path / "vectors.npz")
    run = CliRunner().invoke(main, [str(source), "--splits", "2", "--json", str(tmp_path / "figures.json")])
    assert run.exit_code == 0, run.output
    assert "2 splits, 40 images to fit on, 20 to judge by, seed 0" in run.output
    assert f"sets as users get them: coverage 1.0000 (target {QUICK.policy.coverage}" in run.output
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [split["sets"]["coverage"] for split in figures] == [1.0, 1.0]


@pytest.mark.parametrize(("each", "problem"), [(2, "fewer than 3 images"), (0, "empty")])
def test_what_cannot_be_measured_is_said(each: int, problem: str, tmp_path: Path) -> None:
    source = save(labelled_images(20.0, each=each), tmp_path / "few.npz") if each else tmp_path
    run = CliRunner().invoke(main, [str(source)])
    assert run.exit_code == 1
    assert problem in run.output
