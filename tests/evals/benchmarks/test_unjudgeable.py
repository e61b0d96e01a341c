"""The benchmark of images that cannot be judged, and that of examples of the unknown: on images made for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from consilience.evals.benchmarks import unjudgeable
from consilience.evals.benchmarks.protocols import fitted_on
from consilience.evals.benchmarks.unknown import line_of, with_examples
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.evals.benchmarks.test_novelty import QUICK, around


def speckled(folder: Path, count: int, seed: int) -> None:
    """Pictures with a texture of patches and noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        patches = np.kron(rng.normal(110, 25, (16, 16)), np.ones((8, 8)))
        light = patches[:, :, None] + rng.normal(0, 8, (128, 128, 3))
        PIL.Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")


def test_held_out_images_pass_and_made_cases_do_not(tmp_path: Path) -> None:
    for seed, (part, label, count) in enumerate(
        [("train", "a", 20), ("train", "b", 20), ("test", "a", 6), ("test", "b", 6)]
    ):
        speckled(tmp_path / "data" / part / label, count, seed)
    file = tmp_path / "figures.json"
    run = CliRunner().invoke(unjudgeable.main, [str(tmp_path / "data"), "--json", str(file)])
    assert run.exit_code == 0, run.output
    figures = json.loads(file.read_text(encoding="utf-8"))["data"]
    assert figures["held out"] == {"12 images": 0.0}
    assert set(figures["made"]) == set(unjudgeable.MADE)
    assert min(figures["made"].values()) > 0.9
    assert set(figures["mild"]) == set(unjudgeable.MILD)
    assert figures["mild"]["turned"] == figures["mild"]["light x 0.8"] == 0.0
    assert "refused of the made: nearly black 100.0%" in run.output


def test_a_folder_without_a_test_part_is_named(tmp_path: Path) -> None:
    speckled(tmp_path / "data" / "train" / "a", 2, 0)
    speckled(tmp_path / "data" / "train" / "b", 2, 1)
    run = CliRunner().invoke(unjudgeable.main, [str(tmp_path / "data")])
    assert run.exit_code == 1
    assert "data" in run.output


@pytest.mark.slow
def test_examples_of_the_unknown_help_and_leave_the_panel_as_it_is() -> None:
    names = tuple(f"v{row}" for row in range(80))
    known = LabelledImages(names, ("a",) * 40 + ("b",) * 40, names, around([0, 1], 40, seed=0))
    between = around([0], 40, seed=3) + around([1], 40, seed=4)
    novel = (between / np.linalg.norm(between, axis=1, keepdims=True)).astype(np.float32)
    with fitted_on(known, range(80), QUICK) as diagnoser:
        test = around([0, 1], 20, seed=5)
        without, taught = (with_examples(diagnoser, novel[:k], test, novel[10:]) for k in (0, 10))
        assert diagnoser.panel.unknown is None
    assert taught[0] >= without[0]
    assert taught[1] >= without[1]
    assert taught[2] <= 0.15
    assert line_of(5, [(0.5, 0.25, 0.0), (1.0, 0.75, 0.1)]) == (
        "5 examples: AUROC 0.750, novel called novel 50.0%, known called novel 5.0%"
    )


@pytest.mark.parametrize("name", list(unjudgeable.MADE))
def test_a_made_case_is_an_image(name: str) -> None:
    rng = np.random.default_rng(0)
    made = unjudgeable.MADE[name](rng.integers(0, 256, (40, 60, 3)).astype(np.uint8), rng)
    assert (str(made.dtype), made.ndim, made.shape[2]) == ("uint8", 3, 3)
