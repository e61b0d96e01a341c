"""Unlabelled images beside the labelled ones: from the folder to the panel, and what cannot be used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, add, fit, load_settings
from consilience.agents import SelfTrained
from consilience.agents.heads.model_selection import MAX_JUDGED_IMAGES
from consilience.core.dataset import LabelledImage
from consilience.core.errors import AgentError, DatasetError, EncoderError, SettingsError
from consilience.core.images import load_image
from consilience.orchestrator.fitting.new_label import add_label
from consilience.orchestrator.panel.panel import Panel

Paint = Callable[[Path, str, int], Path]

BOTH = load_settings(agents="gaussian,self-trained")
COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, pictures: Path, painted: Paint) -> Path:
    """12 new pictures in two folders, one of them twice; two that the labelled folder holds; one that is broken."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "deeper").mkdir()
    for seed in range(12):
        painted(folder / ("deeper" if seed % 2 else "") / f"{seed}.png", COLOURS[seed % 3], 700 + seed)
    shutil.copy(folder / "0.png", folder / "again.png")
    for label in ("blue", "red"):
        shutil.copy(pictures / label / "0.png", folder / f"{label}.png")
    (folder / "broken.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, picture_panel: Path, pictures: Path, others: Path) -> Path:
    """Not to be changed. (Where EfficientNet-Lite0 cannot be made, `picture_panel` skips.)"""
    path = tmp_path_factory.mktemp("panels") / "unlabelled"
    fit(pictures, path, unlabelled=others, settings=BOTH)
    return path


@pytest.fixture
def own(panel: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(panel, tmp_path / "own"))


def head_of(panel: Path) -> SelfTrained:
    (head,) = (head for head in Panel.open(panel).heads if isinstance(head, SelfTrained))
    return head


@pytest.mark.slow
def test_images_that_are_new_teach_and_what_cannot_be_read_is_named(
    picture_panel: Path, pictures: Path, others: Path, tmp_path: Path
) -> None:
    report = fit(pictures, tmp_path / "panel", unlabelled=others, settings=BOTH)
    assert report.panel.unlabelled is not None
    assert len(report.panel.unlabelled) == 12
    assert [Path(image.source).name for image in report.failed] == ["broken.jpg"]
    assert not report.complete
    assert len(report.panel.labelled_images) == 24  # the memory holds labelled images alone
    assert report.panel.agents == ("gaussian", "self-trained")
    assert [member.trust.n for member in report.panel.members] == [24, 24]


@pytest.mark.slow
def test_the_usual_agents_include_it_where_there_are_unlabelled_images(vectors: Path, tmp_path: Path) -> None:
    without = fit(vectors, tmp_path / "without").panel
    beside = fit(vectors, tmp_path / "with", unlabelled=vectors_of(tmp_path, 40)).panel
    assert set(beside.agents) - set(without.agents) == {"self-trained"}


def test_the_panel_keeps_what_it_learned(panel: Path, others: Path) -> None:
    with Diagnoser.open(panel) as diagnoser:
        images = sorted(others.glob("*/*.png"))
        diagnoses = [diagnosis for diagnosis in diagnoser.diagnose_many(images) if isinstance(diagnosis, Diagnosis)]
    assert [diagnosis.label for diagnosis in diagnoses] == [COLOURS[int(image.stem) % 3] for image in images]
    assert {prediction.agent for prediction in diagnoses[0].predictions} == {"gaussian", "self-trained"}


def test_it_knows_which_images_it_has_learned_from(own: Path, pictures: Path, others: Path, painted: Paint) -> None:
    add(own, [LabelledImage(painted(own.parent / "added.png", "blue", 800), "blue")])
    learned, new = Panel.open(own), painted(own.parent / "new.png", "blue", 801)
    assert all(learned.has_learned_from(load_image(path).identity) for path in others.glob("**/*.png"))
    assert all(learned.has_learned_from(load_image(path).identity) for path in pictures.glob("*/*.png"))
    assert not learned.has_learned_from(load_image(new).identity)


@pytest.mark.slow
def test_images_from_which_no_agent_learned_are_new_to_the_panel(vectors: Path, tmp_path: Path) -> None:
    """`auto` drops the agent: unlabelled vectors that have nothing to do with the labels do not help."""
    settings = load_settings(agents="auto")
    report = fit(vectors, tmp_path / "panel", unlabelled=vectors_of(tmp_path, 40), settings=settings)
    assert not {choice.agent: choice for choice in report.panel.choices}["self-trained"].kept
    assert not report.panel.unlabelled_ids


def test_an_image_that_gets_its_label_is_unlabelled_no_more(own: Path, others: Path) -> None:
    before = head_of(own)
    add(own, [LabelledImage(others / "0.png", "blue"), LabelledImage(others / "deeper" / "1.png", "green")])
    after = head_of(own)
    assert (len(before.unlabelled), len(after.unlabelled)) == (12, 10)
    assert not np.array_equal(before.weights, after.weights)


@pytest.mark.slow
def test_a_new_label_leaves_the_unlabelled_images_where_they_are(own: Path, tmp_path: Path, painted: Paint) -> None:
    (tmp_path / "pale").mkdir()
    paths = [painted(tmp_path / "pale" / f"{seed}.png", "red", 900 + seed) for seed in range(4)]
    add_label(own, "crimson", paths)
    head = head_of(own)
    assert head.weights.shape[0] == 4
    assert len(head.unlabelled) == 12


def vectors_of(folder: Path, n: int, dimension: int = 8) -> Path:
    rows = np.random.default_rng(0).standard_normal((n, dimension))
    np.savez(folder / "others.npz", embeddings=rows, names=[f"other {row}" for row in range(n)])
    return folder / "others.npz"


def test_vectors_without_labels_do_and_of_very_many_a_part_is_taken(vectors: Path, tmp_path: Path) -> None:
    fit(vectors, tmp_path / "panel", unlabelled=vectors_of(tmp_path, MAX_JUDGED_IMAGES + 500), settings=BOTH)
    assert len(head_of(tmp_path / "panel").unlabelled) == MAX_JUDGED_IMAGES


def test_labelled_vectors_are_passed_over(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"holds no unlabelled image: 90 are labelled already or given twice, 0 cannot be"
    ):
        fit(vectors, tmp_path / "panel", unlabelled=vectors, settings=BOTH)
    assert not (tmp_path / "panel").exists()


def test_what_cannot_be_unlabelled_images_is_refused_before_a_panel_is_written(
    vectors: Path, pictures: Path, others: Path, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match="cannot take vectors of 'precomputed:5'"):
        fit(vectors, tmp_path / "panel", unlabelled=vectors_of(tmp_path, 9, 5), settings=BOTH)
    with pytest.raises(EncoderError, match="takes vectors of 8 numbers, not images"):
        fit(vectors, tmp_path / "panel", unlabelled=others, settings=BOTH)
    with pytest.raises(DatasetError, match="missing"):
        fit(pictures, tmp_path / "panel", unlabelled=tmp_path / "missing", settings=BOTH)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"'.*empty' holds no unlabelled image"):
        fit(pictures, tmp_path / "panel", unlabelled=tmp_path / "empty", settings=BOTH)
    assert not (tmp_path / "panel").exists()


def test_agents_and_unlabelled_images_must_go_together(vectors: Path, tmp_path: Path) -> None:
    quick = load_settings(agents="gaussian")
    with pytest.raises(SettingsError, match="no agent learns from them: add 'self-trained' to the agents"):
        fit(vectors, tmp_path / "panel", unlabelled=tmp_path / "never read", settings=quick)
    with pytest.raises(AgentError, match="'self-trained' needs unlabelled images, too"):
        fit(vectors, tmp_path / "panel", settings=BOTH)


@pytest.mark.slow
def test_auto_says_what_it_would_take(vectors: Path, tmp_path: Path) -> None:
    auto = load_settings(agents="auto")
    without = {choice.agent: choice for choice in fit(vectors, tmp_path / "without", settings=auto).panel.choices}
    assert without["self-trained"].reason == "not tried: no unlabelled images were given"
    beside = fit(vectors, tmp_path / "with", unlabelled=vectors_of(tmp_path, 40), settings=auto).panel.choices
    assert {choice.agent: choice for choice in beside}["self-trained"].reason.startswith(("kept:", "dropped:"))
