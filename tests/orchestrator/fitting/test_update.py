"""A panel gives the same answer after it was written and read; images come and go, and nothing else changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, Task, add, fit, load_settings, remove
from consilience.agents import Gaussian
from consilience.core.dataset import LabelledImage
from consilience.core.errors import (
    AgentError,
    DatasetError,
    EncoderError,
    PanelBusyError,
    PanelDamagedError,
    PanelError,
    SettingsError,
)
from consilience.core.task import Label
from consilience.orchestrator.decision.settling import settles
from consilience.orchestrator.panel.panel import Panel, labelled_features
from consilience.retrieval.memory.image_memory import writer_lock

Paint = Callable[[Path, str, int], Path]


@pytest.fixture
def own(picture_panel: Path, tmp_path: Path) -> Path:
    """A panel on pictures that a test may change."""
    return Path(shutil.copytree(picture_panel, tmp_path / "own"))


def answers(panel: Path, images: list[Path]) -> list[dict[str, float]]:
    """What the panel and each of its agents make of the images."""
    with Diagnoser.open(panel) as diagnoser:
        diagnoses = [diagnosis for diagnosis in diagnoser.diagnose_many(images) if isinstance(diagnosis, Diagnosis)]
    return [
        {
            f"{prediction.agent} {label}": p
            for prediction in diagnosis.predictions
            for label, p in (prediction.probabilities or {}).items()
        }
        | dict(diagnosis.posterior)
        for diagnosis in diagnoses
    ]


def fresh(folder: Path, paint: Paint, count: int = 6) -> list[Path]:
    return [paint(folder / f"{n}.png", ("blue", "green", "red")[n % 3], 500 + n) for n in range(count)]


def test_all_feature_agents_come_back_from_the_folder_bit_for_bit(vectors: Path, tmp_path: Path, blobs: Any) -> None:
    report = fit(vectors, tmp_path / "panel")
    assert report.panel.agents == ("neighbours", "probe", "gaussian", "tip-adapter")
    moved = shutil.move(tmp_path / "panel", tmp_path / "elsewhere")
    new, _ = blobs.drawn(20, 5)
    results = []
    for path in (moved, shutil.copytree(moved, tmp_path / "copy")):
        with Diagnoser.open(path) as diagnoser:
            diagnoses = diagnoser.diagnose_vectors(new, [*map(str, range(20))])
            results.append([diagnosis.posterior for diagnosis in diagnoses if isinstance(diagnosis, Diagnosis)])
    assert results[0] == results[1]
    assert len(results[0]) == 20
    written, restored = report.panel, Panel.open(moved)
    assert restored.members == written.members
    assert restored.fusion.to_dict() == written.fusion.to_dict()
    assert restored.calibration_set.to_dict() == written.calibration_set.to_dict()
    for head, again in zip(written.heads, restored.heads, strict=True):
        for name, array in head.arrays().items():
            assert np.array_equal(array, again.arrays()[name])


def test_a_fit_says_what_became_of_the_images(pictures: Path, tmp_path: Path, painted: Paint) -> None:
    folder = Path(shutil.copytree(pictures, tmp_path / "folder"))
    (folder / "blue" / "broken.png").write_bytes(b"broken")
    (folder / "blue" / "notes.txt").write_text("by hand")
    shutil.copy(folder / "red" / "0.png", folder / "red" / "twin.png")
    painted(folder / "red" / "both.png", "red", 900)
    shutil.copy(folder / "red" / "both.png", folder / "green" / "both too.png")
    report = fit(folder, tmp_path / "panel", settings=load_settings(agents="neighbours"))
    assert (report.images.added, report.images.skipped) == (24, 1)
    assert [image.source for image in report.failed] == [str(folder / "blue" / "broken.png")]
    assert report.ignored == (folder / "blue" / "notes.txt",)
    (conflict,) = report.images.conflicts
    assert {label for _, label in conflict.images} == {"red", "green"}
    assert not report.complete
    assert len(report.panel.labelled_images) == 24
    assert report.settles == settles(load_settings().policy, report.panel.calibration_set)


def test_what_cannot_be_fitted_leaves_nothing_behind(pictures: Path, tmp_path: Path, vectors: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copytree(pictures / "red", tmp_path / "one" / "red")
    with pytest.raises(DatasetError, match="'red' only"):
        fit(tmp_path / "one", tmp_path / "panel")
    with pytest.raises(
        AgentError, match="there is no agent 'oracle'; there are: neighbours, probe, gaussian, tip-adapter"
    ):
        fit(vectors, tmp_path / "panel", settings=load_settings(agents="oracle"))
    with pytest.raises(AgentError, match="needs an encoder with a text tower"):
        fit(vectors, tmp_path / "panel", settings=load_settings(agents="zero-shot"))
    with pytest.raises(EncoderError, match="There is no encoder 'crystal'"):
        fit(pictures, tmp_path / "panel", encoders="crystal")
    with pytest.raises(SettingsError, match="'encodr' is no setting"):
        fit(pictures, tmp_path / "panel", encodr="efficientnet-lite0")
    with pytest.raises(DatasetError, match="which the task lacks; it has ash, elm"):
        fit(vectors, tmp_path / "panel", task=Task.from_labels(["ash", "elm"]))
    assert not (tmp_path / "panel").exists()


def test_a_task_maps_labels_to_its_own_order_and_names(vectors: Path, tmp_path: Path) -> None:
    labels = (Label(name="conifer", synonyms=("Cedar",)), Label(name="APPLE"), Label(name="beech"))
    report = fit(vectors, tmp_path / "panel", task=Task(labels=labels), settings=load_settings(agents="gaussian"))
    labelled_images = Panel.open(tmp_path / "panel").labelled_images
    assert labelled_images.labels[:3] == ("APPLE", "beech", "conifer")
    trust = report.panel.members[0].trust
    assert trust.accuracy is not None
    assert trust.accuracy > 0.9
    with Diagnoser.open(tmp_path / "panel") as diagnoser:
        (result,) = diagnoser.diagnose_vectors(labelled_images.vectors[2:3], ["cedar"])
    assert isinstance(result, Diagnosis)
    assert (list(result.posterior), result.label) == (["conifer", "APPLE", "beech"], "conifer")


def test_a_label_whose_images_are_all_bad_is_named(pictures: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pictures, tmp_path / "folder"))
    for path in sorted((folder / "green").iterdir()):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"'green' has no usable image in '.*' \(8 could not be read, 0 stand"):
        fit(folder, tmp_path / "panel")


def test_a_panel_that_is_there_is_replaced_only_on_demand(panel: Path, vectors: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(panel, tmp_path / "own"))
    with pytest.raises(PanelError):
        fit(vectors, own)
    assert Panel.open(own).agents == ("neighbours", "gaussian")
    fit(vectors, own, settings=load_settings(agents="neighbours"), overwrite=True)
    assert Panel.open(own).agents == ("neighbours",)


def test_images_are_added_once_and_taken_out_again(own: Path, tmp_path: Path, painted: Paint) -> None:
    (tmp_path / "new").mkdir()
    images = fresh(tmp_path / "new", painted)
    labelled = [LabelledImage(path, ("blue", "green", "red")[n % 3]) for n, path in enumerate(images)]
    probes = [painted(tmp_path / f"probe-{n}.png", "green", 700 + n) for n in range(3)]
    before, held = answers(own, probes), Panel.open(own)
    report = add(own, labelled)
    assert (report.images.added, report.images.skipped, report.images.conflicts) == (6, 0, ())
    grown = Panel.open(own)
    assert len(grown.labelled_images) == 30
    assert grown.members == held.members
    assert grown.calibration_set.to_dict() == held.calibration_set.to_dict()
    with Diagnoser.open(own) as diagnoser:
        diagnosis = diagnoser.diagnose(images[0])
        assert diagnosis.evidence.neighbours[0].source == str(images[0])
        assert diagnosis.evidence.neighbours[0].thumbnail()
        assert diagnoser.memory.check().ok
    again = add(own, labelled)
    assert (again.images.added, again.images.skipped) == (0, 6)
    assert answers(own, probes) != before
    assert remove(own, [str(path) for path in images[:3]]) == []
    assert remove(own, [Panel.open(own).labelled_images.ids[-1], *map(str, images[3:5])]) == []
    assert Panel.open(own).labelled_images.ids == held.labelled_images.ids
    for answer, other in zip(answers(own, probes), before, strict=True):
        assert answer == pytest.approx(other, abs=1e-6)


def test_an_updated_gaussian_equals_one_fitted_anew(own: Path, tmp_path: Path, painted: Paint) -> None:
    images = fresh(tmp_path, painted)
    add(own, [LabelledImage(path, ("blue", "green", "red")[n % 3]) for n, path in enumerate(images)])
    remove(own, [Panel.open(own).labelled_images.ids[0]])
    panel = Panel.open(own)
    (gaussian,) = (head for head in panel.heads if isinstance(head, Gaussian))
    anew = Gaussian.fit(labelled_features(panel.labelled_images, panel.task))
    for kept, new in zip(gaussian.statistics, anew.statistics, strict=True):
        np.testing.assert_allclose(kept, new, rtol=1e-9, atol=1e-9)
    if gaussian.ridge == anew.ridge:  # the one that `fit` chose is kept
        np.testing.assert_allclose(gaussian.weights, anew.weights, rtol=1e-6, atol=1e-6 * np.abs(anew.weights).max())


def test_a_contradiction_is_named_and_the_old_label_stays(own: Path, pictures: Path) -> None:
    old = pictures / "red" / "0.png"
    report = add(own, [LabelledImage(old, "green")])
    (conflict,) = report.images.conflicts
    assert str(conflict) == f"the same image: '{old}' (red), '{old}' (green)"
    labelled_images = Panel.open(own).labelled_images
    assert labelled_images.labels[labelled_images.rows[conflict.id]] == "red"
    assert len(labelled_images) == 24


def test_what_cannot_be_added_is_named_and_the_rest_is_added(own: Path, tmp_path: Path, painted: Paint) -> None:
    good = painted(tmp_path / "good.png", "red", 800)
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    report = add(own, [LabelledImage(bad, "red"), LabelledImage(good, "RED")])
    assert [image.source for image in report.failed] == [str(bad)]
    assert report.images.added == 1
    assert Panel.open(own).labelled_images.labels[-1] == "red"
    with pytest.raises(DatasetError, match="no label 'violet'; it has blue, green, red"):
        add(own, [LabelledImage(good, "violet")])


def test_an_unknown_name_removes_nothing(own: Path, pictures: Path) -> None:
    known = str(pictures / "red" / "0.png")
    before = Panel.open(own).labelled_images.ids
    assert remove(own, [known, "nowhere.png"]) == ["nowhere.png"]
    assert Panel.open(own).labelled_images.ids == before


def test_a_label_keeps_an_image(own: Path, pictures: Path) -> None:
    red = sorted(map(str, (pictures / "red").iterdir()))
    with pytest.raises(DatasetError, match="'red' would be left without images; nothing was removed"):
        remove(own, red)
    assert len(Panel.open(own).labelled_images) == 24
    assert remove(own, red[:6]) == []
    assert Panel.open(own).labelled_images.labels.count("red") == 2


def test_a_second_writer_is_refused_and_readers_go_on(own: Path, pictures: Path, tmp_path: Path) -> None:
    with writer_lock(own):
        with pytest.raises(PanelBusyError):
            add(own, [LabelledImage(pictures / "red" / "0.png", "red")])
        with pytest.raises(PanelBusyError):
            remove(own, ["nowhere"])
        with pytest.raises(PanelBusyError):
            fit(pictures, own, overwrite=True)
        assert len(answers(own, [pictures / "red" / "0.png"])) == 1


def test_a_reader_goes_on_with_what_it_opened(own: Path, pictures: Path, tmp_path: Path, painted: Paint) -> None:
    new = painted(tmp_path / "new.png", "red", 801)
    with Diagnoser.open(own) as diagnoser:
        before = diagnoser.diagnose(new)
        assert add(own, [LabelledImage(new, "red")]).images.added == 1
        after = diagnoser.diagnose(new)
        assert after.posterior == before.posterior
        assert str(new) not in {case.source for case in after.evidence.neighbours}
    with Diagnoser.open(own) as diagnoser:
        assert diagnoser.diagnose(new).evidence.neighbours[0].source == str(new)


def test_a_panel_whose_parts_do_not_fit_is_damaged(panel: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(panel, tmp_path / "own"))
    whole = Panel.open(own)
    with pytest.raises(PanelDamagedError, match="does not hold what its format says"):
        replace(whole, task=Task.from_labels(["ash", "elm"])).save(own, overwrite=True)
