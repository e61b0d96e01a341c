"""A label is added from some images: the panel knows it, knows the others as before, and embeds nothing again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience import Diagnoser, Diagnosis, Prediction, fit, load_settings
from consilience.agents import AgentInput
from consilience.core.errors import AgentError, DatasetError, TaskError
from consilience.core.task import Task
from consilience.orchestrator.fitting.new_label import add_label
from consilience.orchestrator.panel.panel import Panel

COLOURS = {"blue": (40, 60, 200), "green": (50, 170, 60), "red": (200, 50, 40), "white": (225, 225, 225)}


def pale(path: Path, seed: int) -> Path:
    """A picture of pale speckles."""
    noise = np.random.default_rng(seed).integers(-40, 25, (48, 48, 3))
    PIL.Image.fromarray((np.array(COLOURS["white"]) + noise).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def probes(tmp_path: Path, painted: Any) -> list[Path]:
    """An image of each label."""
    known = [painted(tmp_path / f"probe-{colour}.png", colour, 950) for colour in ("blue", "green", "red")]
    return [*known, pale(tmp_path / "probe-white.png", 950)]


@pytest.fixture
def own(picture_panel: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(picture_panel, tmp_path / "own"))


@pytest.fixture
def white(tmp_path: Path) -> list[Path]:
    (tmp_path / "white").mkdir()
    return [pale(tmp_path / "white" / f"{n}.png", 300 + n) for n in range(8)]


def labels_of(panel: Path, images: list[Path], **more: Any) -> list[str]:
    with Diagnoser.open(panel, **more) as diagnoser:
        return [diagnosis.label for diagnosis in diagnoser.diagnose_many(images) if isinstance(diagnosis, Diagnosis)]


def test_the_new_label_is_known_and_the_others_still_are(own: Path, white: list[Path], probes: list[Path]) -> None:
    before = Panel.open(own)
    report = add_label(own, Task.label("white", ["pale speckles"], ["pale"]), white)
    panel = Panel.open(own)
    assert (report.images.added, panel.task.names) == (8, (*before.task.names, "white"))
    assert panel.task.find("Pale") == "white"
    np.testing.assert_array_equal(panel.labelled_images.vectors[:24], before.labelled_images.vectors)
    assert panel.agents == before.agents
    for member in panel.members:
        assert member.trust.n == 32
        assert member.trust.confusion is not None
        assert sum(member.trust.confusion["white"].values()) == 8
    assert labels_of(own, probes) == list(COLOURS)


@pytest.mark.slow
def test_it_equals_a_panel_fitted_at_once(own: Path, white: list[Path], pictures: Path, tmp_path: Path) -> None:
    add_label(own, "white", white)
    whole = Path(shutil.copytree(pictures, tmp_path / "whole"))
    shutil.copytree(white[0].parent, whole / "white")
    anew = fit(whole, tmp_path / "anew", group="none", agents=["neighbours", "gaussian"]).panel
    for member, other in zip(Panel.open(own).members, anew.members, strict=True):
        assert member.trust == other.trust


def test_what_cannot_be_added_changes_nothing(own: Path, white: list[Path], pictures: Path) -> None:
    before = (own / "panel.json").read_bytes()
    with pytest.raises(TaskError, match="'BLUE' is the label 'blue' already: add images to it"):
        add_label(own, "BLUE", white)
    with pytest.raises(
        DatasetError, match=r"'white' needs at least 2 usable images, and has 1 \(1 could not be read, 1 stand under"
    ):
        add_label(own, "white", [white[0], white[0].parent / "missing.png", pictures / "red" / "0.png"])
    assert (own / "panel.json").read_bytes() == before


def watched(inputs: AgentInput) -> list[Any]:
    """By the mean colour of the image, over whatever labels the task has."""
    means = np.array([image.pixels.mean(axis=(0, 1)) for image in inputs.images if image is not None])
    targets = np.array([COLOURS[name] for name in inputs.task.names], dtype=float)
    near = np.exp(-np.linalg.norm(means[:, None] - targets, axis=2) / 30) + 1e-6
    shares = (near / near.sum(axis=1, keepdims=True)).tolist()
    return [Prediction("", probabilities=dict(zip(inputs.task.names, row, strict=True))) for row in shares]


@pytest.mark.slow
def test_agents_that_see_images_are_asked_about_the_new_ones_alone(
    pictures: Path, white: list[Path], probes: list[Path], tmp_path: Path, scripted: Any
) -> None:
    own, settings = tmp_path / "own", load_settings(agents="gaussian")
    fit(pictures, own, settings=settings, agents=[scripted("eye", watched)])
    with pytest.raises(AgentError, match="does not hold: eye"):
        add_label(own, "white", white)
    eye = scripted("eye", watched)
    add_label(own, "white", white, agents=[eye])
    assert sum(map(len, eye.asked)) == 8
    panel = Panel.open(own)
    assert [member.agent for member in panel.members] == ["gaussian", "eye"]
    assert panel.members[1].trust.n == 32
    np.testing.assert_allclose(panel.predictions.raw[1].sum(axis=1), 1.0)
    assert labels_of(own, probes, agents=[scripted("eye", watched)]) == list(COLOURS)
