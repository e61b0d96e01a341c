"""What counts is learned in one change, judges honestly, forgets nothing, and can be undone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, add, fit, load_settings, remove
from consilience.agents import Gaussian
from consilience.core.dataset import LabelledImage
from consilience.core.errors import DatasetError, HistoryError, PanelBusyError, PanelDamagedError
from consilience.core.settings.settings import LearningSettings
from consilience.core.storage.panel_folder import write_panel_folder
from consilience.core.task import NONE_OF_THESE
from consilience.orchestrator.ensemble.out_of_fold import MIN_CAPACITY, LabelledPredictions
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.feedback.learning import changes, learn, undo
from consilience.orchestrator.panel.panel import PREDICTIONS_FILE, Panel
from consilience.orchestrator.panel.unknown_examples import without_labelled, without_like
from consilience.retrieval.memory.image_memory import writer_lock
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.orchestrator.conftest import unit
from tests.support.real_data import real_data

AT_ONCE = LearningSettings(review="at-once")


@pytest.fixture
def own(panel: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(panel, tmp_path / "own", ignore=shutil.ignore_patterns("history.sqlite*")))


def diagnosed(panel: Path, vectors: np.ndarray) -> list[Diagnosis]:
    with Diagnoser.open(panel) as diagnoser:
        diagnoses = diagnoser.diagnose_vectors(vectors, [f"new {n}" for n in range(len(vectors))])
        return [diagnosis for diagnosis in diagnoses if isinstance(diagnosis, Diagnosis)]


def confirm(panel: Path, diagnoses: Sequence[Diagnosis], labels: Sequence[str]) -> list[str]:
    """Keep diagnoses, and say at once what they show."""
    with History.open(panel) as history:
        ids = [history.keep(diagnosis).id for diagnosis in diagnoses]
        for id, label in zip(ids, labels, strict=True):
            Feedbacks(history, AT_ONCE).give(id, "Ada", label)
    return ids


def accuracy(panel: Path, vectors: np.ndarray, labels: Sequence[str]) -> float:
    return float(
        np.mean([diagnosis.label == label for diagnosis, label in zip(diagnosed(panel, vectors), labels, strict=True)])
    )


def test_a_batch_is_learned_in_one_change_and_undone_without_a_trace(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(30, 5)
    before = Panel.open(own)
    diagnoses = diagnosed(own, vectors)
    confirm(own, diagnoses, labels)
    report = learn(own, learning__half_life_images=1e9)
    after = Panel.open(own)
    assert report.left_out == {}
    assert report.change is not None
    assert (report.change.number, report.change.judged, len(report.change.images)) == (1, 30, 30)
    assert after.labelled_images.labels[90:] == tuple(labels)
    np.testing.assert_array_equal(after.labelled_images.vectors[90:], vectors)
    # trust is what it would be had the kept first looks been among those of fit: counted by hand
    for number, member in enumerate(after.members):
        looks = [diagnosis.predictions[number].probabilities or {} for diagnosis in diagnoses]
        raw = np.array([list(probabilities.values()) for probabilities in looks])
        np.testing.assert_allclose(after.predictions.raw[number, 90:], raw)
        assert member.trust.n == 120
    (gaussian,) = (head for head in after.heads if isinstance(head, Gaussian))
    anew = Gaussian.fit(after.labelled_features())
    for kept, new in zip(gaussian.statistics, anew.statistics, strict=True):
        np.testing.assert_allclose(kept, new, atol=1e-6)
    assert learn(own).change is None
    undone = undo(own, 1)
    restored = Panel.open(own)
    assert undone.undone is not None
    assert restored.labelled_images.ids == before.labelled_images.ids
    assert restored.members == before.members
    assert restored.fusion.to_dict() == before.fusion.to_dict()
    assert restored.calibration_set.to_dict() == before.calibration_set.to_dict()
    with History.open(own) as history:
        assert {vote.status for vote in Feedbacks(history).all()} == {"undone"}
    assert learn(own).change is None
    for number, words in ((1, "was undone already"), (2, "does not exist")):
        with pytest.raises(HistoryError, match=words):
            undo(own, number)
    assert [change.number for change in changes(own)] == [1]


def test_an_earlier_change_is_undone_and_a_later_one_stays(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(12, 6)
    confirm(own, diagnosed(own, vectors[:6]), labels[:6])
    learn(own)
    confirm(own, diagnosed(own, vectors[6:]), labels[6:])
    learn(own)
    undo(own, 1)
    panel = Panel.open(own)
    np.testing.assert_array_equal(panel.labelled_images.vectors[90:], vectors[6:])
    assert panel.predictions.changes.tolist() == [0] * 90 + [2] * 6


def test_what_cannot_be_learned_is_named(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(6, 7)
    first = diagnosed(own, vectors)
    known = diagnosed(own, Panel.open(own).labelled_images.vectors[:2])
    lost = replace(first[0], embedding=None)  # and its source is no file
    ids = confirm(own, [lost, first[1], first[1], *known], [labels[0], "apple", "beech", "apple", "cedar"])
    report = learn(own)
    assert report.change is None
    assert set(report.left_out) == {ids[0], ids[1], ids[2], ids[4]}
    assert "it cannot be read" in report.left_out[ids[0]]
    assert "the same image: 'new 1' (apple), 'new 1' (beech)" in report.left_out[ids[1]]
    assert "the panel holds this image as 'beech', not 'cedar'" in report.left_out[ids[4]]
    assert len(Panel.open(own).labelled_images) == 90


def test_none_of_these_is_learned_as_an_example_of_the_unknown_and_undone(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(4, 11)
    strange = unit(np.eye(8, dtype=np.float32)[5:8])  # along axes that no label lies on
    before, diagnoses = Panel.open(own), diagnosed(own, np.concatenate([vectors[:1], strange]))
    confirm(own, diagnoses, [labels[0], *[NONE_OF_THESE] * 3])
    report, after = learn(own), Panel.open(own)
    assert report.change is not None
    assert report.change.judged == 1  # the agents had no chance to be right on the others
    assert [image["label"] for image in report.change.to_dict()["images"]] == [labels[0], None, None, None]
    assert after.unknown is not None
    assert after.unknown.ids == tuple(diagnosis.identity for diagnosis in diagnoses[1:])
    assert after.unknown.sources == ("new 1", "new 2", "new 3")
    np.testing.assert_array_equal(after.unknown.vectors, strange)
    assert after.task == before.task
    assert len(after.labelled_images) == 91
    assert all(after.has_learned_from(diagnosis.identity) for diagnosis in diagnoses)
    undo(own, 1)
    restored = Panel.open(own)
    assert restored.unknown is None
    assert restored.labelled_images.ids == before.labelled_images.ids
    with History.open(own) as history:
        assert {vote.status for vote in Feedbacks(history).all()} == {"undone"}


def test_examples_of_the_unknown_alone_change_no_agent(own: Path) -> None:
    before = Panel.open(own)
    confirm(own, diagnosed(own, np.eye(8, dtype=np.float32)[5:6]), [NONE_OF_THESE])
    learn(own)
    after = Panel.open(own)
    assert after.unknown is not None
    assert after.members == before.members
    assert after.predictions.ids == before.predictions.ids
    np.testing.assert_array_equal(after.labelled_images.vectors, before.labelled_images.vectors)
    undo(own, 1)
    assert Panel.open(own).unknown is None


def test_an_image_is_never_both_known_and_unknown(own: Path) -> None:
    strange = np.eye(8, dtype=np.float32)[5:7]
    first, other = diagnosed(own, strange)
    held = diagnosed(own, Panel.open(own).labelled_images.vectors[:1])
    ids = confirm(own, [first, first, other, *held], [NONE_OF_THESE, "apple", NONE_OF_THESE, NONE_OF_THESE])
    report = learn(own)
    assert set(report.left_out) == {ids[0], ids[1], ids[3]}
    assert "the same image: 'new 0' (none of these), 'new 0' (apple)" in report.left_out[ids[0]]
    assert "as 'apple', not 'none of these'" in report.left_out[ids[3]]
    later = confirm(own, [other, other], ["beech", NONE_OF_THESE])
    report = learn(own)
    assert (report.change, set(report.left_out)) == (None, {*ids, later[0]} - {ids[2]})
    assert "as 'none of these', not 'beech'" in report.left_out[later[0]]
    with History.open(own) as history:  # the second vote for the same was learned with the first
        assert [vote.change for vote in Feedbacks(history).of(later[1])] == [1]
    assert remove(own, [other.identity]) == []
    assert Panel.open(own).unknown is None
    assert learn(own).change is not None
    assert other.identity in Panel.open(own).labelled_images.rows


def test_what_gets_a_label_is_unknown_no_more(own: Path, tmp_path: Path) -> None:
    strange = unit(np.eye(8, dtype=np.float32)[[5, 5, 6]] + 0.01 * np.eye(8, dtype=np.float32)[[1, 2, 3]])
    labelled_images = Panel.open(own).labelled_images
    unknown = LabelledImages(("a", "b", "c"), (NONE_OF_THESE,) * 3, ("", "", ""), strange)
    grown, _ = labelled_images.with_added(["a"], ["fig"], [""], strange[:1])
    left = without_like(unknown, grown, "fig")  # a has the label, b is most like it, c is like nothing
    assert left is not None
    assert left.ids == ("c",)
    assert without_like(without_labelled(unknown, grown), grown, "apple") is not None
    assert without_labelled(left, grown.with_added(["c"], ["fig"], [""], strange[2:])[0]) is None


def test_an_image_without_a_vector_is_loaded_again_if_it_is_the_same(
    picture_panel: Path, tmp_path: Path, painted: Any
) -> None:
    own = Path(shutil.copytree(picture_panel, tmp_path / "own"))
    paths = [painted(tmp_path / f"{n}.png", "blue", 600 + n) for n in range(2)]
    with Diagnoser.open(own) as diagnoser:
        diagnoses = [diagnoser.diagnose(path) for path in paths]
    ids = confirm(own, [replace(diagnosis, embedding=None, image=None) for diagnosis in diagnoses], ["blue", "blue"])
    painted(paths[1], "red", 999)
    report = learn(own)
    labelled_images = Panel.open(own).labelled_images
    assert report.left_out == {ids[1]: f"'{paths[1]}' is another image now"}
    assert labelled_images.ids[-1] == diagnoses[0].identity
    assert diagnoses[0].embedding is not None
    np.testing.assert_allclose(labelled_images.vectors[-1], diagnoses[0].embedding.vector, atol=1e-5)
    assert labelled_images.thumbnail(labelled_images.ids[-1])


def test_predictions_over_other_labels_join_the_memory_but_judge_nobody(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(2, 8)
    diagnoses = diagnosed(own, vectors)
    fewer = [
        replace(
            diagnosis,
            predictions=tuple(
                replace(each, probabilities={"apple": 0.5, "beech": 0.5}, calibrated=None)
                for each in diagnosis.predictions
            ),
        )
        for diagnosis in diagnoses
    ]
    confirm(own, fewer, labels)
    before, report = Panel.open(own), learn(own)
    assert report.change is not None
    assert report.change.judged == 0
    assert len(Panel.open(own).labelled_images) == 92
    assert Panel.open(own).members == before.members


def test_a_panel_without_the_predictions_that_judge_its_agents_is_damaged(own: Path, blobs: Any) -> None:
    old = Panel.open(own)

    def incomplete(folder: Path) -> dict[str, Any]:
        entries = old._write(folder)
        (folder / PREDICTIONS_FILE).unlink()
        return entries

    vectors, labels = blobs.drawn(4, 9)
    confirm(own, diagnosed(own, vectors), labels)
    write_panel_folder(own, incomplete, overwrite=True)
    with pytest.raises(PanelDamagedError, match="fit it again"):
        learn(own)
    assert changes(own) == []


def test_a_panel_that_is_being_written_is_left_alone(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(2, 10)
    confirm(own, diagnosed(own, vectors), labels)
    with writer_lock(own), pytest.raises(PanelBusyError):
        learn(own)
    assert changes(own) == []
    assert learn(own).change is not None


def test_an_agent_that_is_often_wrong_of_late_loses_trust(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(60, 11)
    moved = np.roll(vectors, 1, axis=1)  # what was an apple looks like a beech now
    confirm(own, diagnosed(own, moved), labels)
    before, _ = Panel.open(own), learn(own, learning__half_life_images=30.0)
    after = Panel.open(own)
    for then, now in zip(before.members, after.members, strict=True):
        assert then.trust.accuracy is not None
        assert now.trust.accuracy is not None
        assert now.trust.accuracy < then.trust.accuracy - 0.3
        assert now.trust.n < 90 + 60


def test_half_of_the_evidence_is_left_after_a_half_life() -> None:
    n = 4000
    rows = LabelledPredictions(
        tuple(f"image {number}" for number in range(n)),
        np.zeros(n, dtype=np.intp),
        np.full((1, n, 2), 0.5),
        np.r_[np.zeros(2000, np.intp), np.ones(1000, np.intp), np.full(1000, 2)],
    )
    lasting = rows.lasting(1000.0)
    assert lasting[3000:].all()
    assert lasting[2000:3000].mean() == pytest.approx(0.5, abs=0.06)  # 4 standard errors
    assert lasting[:2000].mean() == pytest.approx(0.25, abs=0.04)
    longer = rows.lasting(2000.0)
    assert (longer >= lasting).all()  # who lasts with a short half-life lasts with a longer one
    assert rows.lasting(1e-9)[:3000].sum() == 0
    few = rows.take(np.arange(n) < 2000 + 5)
    assert few.lasting(1e-9).sum() == MIN_CAPACITY  # the newest of the label


@pytest.fixture(scope="module")
def embeddings() -> tuple[np.ndarray, np.ndarray]:
    with np.load(real_data("recorded-runs/clip_vit_b32_train.npz"), allow_pickle=False) as file:
        return file["embeddings"], file["labels"]


@pytest.mark.slow
def test_nothing_is_forgotten_when_images_of_one_label_are_learned(
    embeddings: tuple[np.ndarray, np.ndarray], tmp_path: Path, blobs: Any
) -> None:
    vectors, labels = embeddings
    rng = np.random.default_rng(0)
    names = sorted(set(labels.tolist()))
    own = {name: rng.permutation(np.flatnonzero(labels == name)) for name in names}
    start = np.concatenate([own[name][:24] for name in names])
    held_out = np.concatenate([own[name][88:] for name in names])
    fit(blobs.save(tmp_path / "start.npz", vectors[start], labels[start]), tmp_path / "panel", seed=0)
    others = held_out[labels[held_out] != names[0]]
    before = accuracy(tmp_path / "panel", vectors[others], labels[others].tolist())
    more = own[names[0]][24:88]
    confirm(tmp_path / "panel", diagnosed(tmp_path / "panel", vectors[more]), labels[more].tolist())
    report = learn(tmp_path / "panel")
    assert report.change is not None
    assert len(report.change.images) == 64
    after = accuracy(tmp_path / "panel", vectors[others], labels[others].tolist())
    assert len(others) == 120
    assert after >= before - 0.02  # two images of 120


def test_a_label_is_not_emptied_by_undoing(own: Path, blobs: Any, tmp_path: Path) -> None:
    vectors, labels = blobs.drawn(6, 12)
    small = fit(blobs.save(tmp_path / "small.npz", vectors, labels), tmp_path / "small", agents=["gaussian"]).panel
    new, names = blobs.drawn(3, 13)
    confirm(small.path, diagnosed(small.path, new), names)
    learn(small.path)
    from consilience import remove

    fitted = zip(small.labelled_images.ids, small.labelled_images.labels, strict=True)
    assert remove(small.path, [identity for identity, label in fitted if label == "apple"]) == []
    with pytest.raises(DatasetError, match="'apple' would be left without images"):
        undo(small.path, 1)


def test_an_image_that_was_added_by_hand_meanwhile_is_known(picture_panel: Path, tmp_path: Path, painted: Any) -> None:
    own = Path(shutil.copytree(picture_panel, tmp_path / "own"))
    path = painted(tmp_path / "new.png", "green", 801)
    with Diagnoser.open(own) as diagnoser:
        confirm(own, [diagnoser.diagnose(path)], ["green"])
    add(own, [LabelledImage(path, "green")], settings=load_settings())
    report = learn(own)
    assert (report.change, report.left_out) == (None, {})
    with History.open(own) as history:
        assert Feedbacks(history).to_learn() == []
