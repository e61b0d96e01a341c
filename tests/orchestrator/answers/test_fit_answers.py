"""Panels of answers: fitted on tables without images, and what they make of new answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import consilience
from consilience import AnswerArrays, Diagnoser, Diagnosis, FailedImage, Task, fit_answers
from consilience.core.errors import (
    AgentError,
    ConsilienceError,
    DatasetError,
    EncoderError,
    HeatMapError,
    SettingsError,
)
from consilience.core.settings.settings import load_settings
from consilience.orchestrator.panel.panel import Panel
from tests.support.answer_rows import LABELS, answer_rows, answers_panel, diagnoses
from tests.support.real_data import real_data

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answers_panel(tmp_path_factory)


def test_independent_agents_together_beat_the_best_of_them(panel: Path) -> None:
    opened = Panel.open(panel)
    assert (opened.agents, opened.of_answers, opened.task.names) == (("net", "Ann", "vlm"), True, LABELS)
    assert [member.trust.n for member in opened.members] == [240] * 3
    new = answer_rows(300, seed=1)
    truth = {row["image"]: row["truth"] for row in new}
    found = diagnoses(panel, new)
    assert [diagnosis.source for diagnosis in found] == [*truth]  # in their order
    right = np.mean([diagnosis.label == truth[diagnosis.source] for diagnosis in found])
    best = np.mean([row["label"] == row["truth"] for row in new if row["agent"] == "Ann"])
    assert right > best + 0.03


def test_what_cannot_be_said_without_an_image_is_left_out(panel: Path) -> None:
    (diagnosis,) = diagnoses(panel, answer_rows(1, seed=2))
    assert (diagnosis.novelty, diagnosis.is_novel, diagnosis.novelty_signs) == (None, False, {})
    assert not diagnosis.evidence.neighbours
    assert "Only agents' answers are known of it" in diagnosis.to_markdown()
    assert Diagnosis.from_dict(diagnosis.to_dict()) == diagnosis


def test_where_it_looked_cannot_be_said_without_an_image(panel: Path) -> None:
    with Diagnoser.open(panel) as diagnoser:
        (diagnosis,) = diagnoser.diagnose_answers(answer_rows(1, seed=2))
        assert isinstance(diagnosis, Diagnosis)
        for ask in (diagnoser.heat, diagnoser.occlusion_heat):
            with pytest.raises(HeatMapError, match=r"needs the image, .* the answers alone are known"):
                ask(diagnosis)


def test_a_truth_is_not_needed_and_not_looked_at(panel: Path) -> None:
    known, unknown = answer_rows(5, seed=3), [{**row, "truth": None} for row in answer_rows(5, seed=3)]
    wrong = [{**row, "truth": "no label of ours"} for row in known]
    posteriors = [[d.posterior for d in diagnoses(panel, rows)] for rows in (known, unknown, wrong)]
    assert posteriors[0] == posteriors[1] == posteriors[2]


def test_answers_that_are_missing_or_name_no_label_do_not_count(panel: Path) -> None:
    rows: Rows = [
        {"image": "a", "agent": "net", "p_rust": 0.7, "p_scab": 0.2, "p_canker": 0.1},
        {"image": "a", "agent": "Ann", "label": "unsure"},
        {"image": "a", "agent": "a stranger", "label": "scab"},
        {"image": "b", "agent": "vlm", "label": "who knows"},
        {"image": "b", "agent": "Ann", "label": ""},
    ]
    with Diagnoser.open(panel) as diagnoser:
        one, other = diagnoser.diagnose_answers(rows)
    assert isinstance(one, Diagnosis)
    assert isinstance(other, FailedImage)
    said = {prediction.agent: prediction for prediction in one.predictions}
    assert [*said] == ["net", "Ann", "vlm"]
    assert (said["Ann"].abstained, said["vlm"].error) == (True, "it gave no answer on this image")
    assert [agent for agent, prediction in said.items() if prediction.weight] == ["net"]
    assert "none of the labels" in str(other.error)


def test_answers_of_several_labels_count(tmp_path: Path) -> None:
    rows = [row for row in answer_rows(120) if row["agent"] == "Ann"]
    for number, row in enumerate(rows):
        if row["label"] != row["truth"]:  # whenever it errs, it has the truth in mind
            row["label"] += f" | {row['truth']}"
        elif not number % 4:
            row["label"] += " | canker" if row["truth"] != "canker" else " | rust"
    task = Task.from_labels([*LABELS, "healthy"])
    report = fit_answers(rows, tmp_path / "panel", task=task)
    assert not [aside for aside in report.asides if "none of the labels" in aside]
    assert report.panel.members[0].trust.n == 120
    new: Rows = [
        {"image": "sure", "agent": "Ann", "label": "rust"},
        {"image": "not so", "agent": "Ann", "label": "rust | scab", "confidence": 0.1},
        {"image": "either", "agent": "Ann", "label": "Rust or scab"},
    ]
    sure, not_so, either = (diagnosis.posterior for diagnosis in diagnoses(tmp_path / "panel", new))
    assert sure["rust"] > 0.8 > not_so["rust"]
    assert not_so["scab"] > 4 * not_so["canker"]
    assert either["rust"] == pytest.approx(either["scab"], abs=0.1)
    assert either["rust"] + either["scab"] > 0.8


def test_a_second_look_takes_the_place_of_the_first(tmp_path: Path) -> None:
    rows = answer_rows(240)
    again = [{**row, "label": row["truth"], "stage": "revised"} for row in rows if row["agent"] == "vlm"]
    report = fit_answers([*rows, *again], tmp_path / "panel")
    assert [(member.agent, member.stage) for member in report.panel.members][3:] == [("vlm", "second")]
    assert report.panel.members[3].trust.accuracy == 1.0
    new = answer_rows(40, seed=1)
    new += [{**row, "label": row["truth"], "stage": "revised"} for row in new if row["agent"] == "vlm"]
    found = diagnoses(tmp_path / "panel", new)
    looked_again = [d for d in found if any(p.stage == "second" for p in d.predictions)]
    assert looked_again
    truth = {row["image"]: row["truth"] for row in new}
    assert all(d.label == truth[d.source] for d in looked_again)


def test_arrays_teach_what_rows_teach(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(3, size=60)
    shares = random.dirichlet(np.ones(3), size=(2, 60)) + np.eye(3)[truth]
    shares /= shares.sum(axis=2, keepdims=True)
    shares[1, :7] = np.nan
    arrays = AnswerArrays(shares, LABELS, [LABELS[place] for place in truth], agents=["a", "b"])
    rows = [
        {"image": image.name, "agent": answer.agent, "truth": image.truth}
        | {f"p_{label}": share for label, share in (answer.shares or {}).items()}
        for image in arrays.images()
        for answer in image.answers
    ]
    one, other = fit_answers(arrays, tmp_path / "one").panel, fit_answers(rows, tmp_path / "other").panel
    np.testing.assert_allclose(one.fusion.base, other.fusion.base, rtol=1e-3)
    np.testing.assert_allclose(one.calibration_set.posterior, other.calibration_set.posterior, atol=1e-3)
    assert one.members[1].trust.n == 53
    with Diagnoser.open(tmp_path / "one") as diagnoser:
        results = [*diagnoser.diagnose_answers(arrays)]
    assert [result.source for result in results] == [str(number) for number in range(1, 61)]


def test_an_agent_that_answered_nothing_is_left_out_and_foreign_answers_are_counted(tmp_path: Path) -> None:
    rows = answer_rows(60)
    for row in rows:
        if row["agent"] == "vlm":
            row["label"] = "blight"
    rows.append({"image": "new.jpg", "agent": "net", "p_rust": 1, "p_scab": 0, "p_canker": 0})
    report = fit_answers(rows, tmp_path / "panel")
    assert report.panel.agents == ("net", "Ann")
    assert report.asides == (
        "1 image without a truth",
        "60 answers of 'vlm' that name none of the labels",
    )
    assert any("'vlm' is no part of the panel" in warning for warning in report.warnings)


def test_one_agent_is_a_panel_of_one(tmp_path: Path) -> None:
    report = fit_answers([row for row in answer_rows(60) if row["agent"] == "Ann"], tmp_path / "panel")
    assert report.panel.agents == ("Ann",)
    with pytest.raises(AgentError, match="the agent 'Ann' gave a first prediction for 0 of 3 labelled images"):
        fit_answers([{"image": n, "agent": "Ann", "label": "", "truth": LABELS[n]} for n in range(3)], tmp_path / "no")


def test_groups_are_the_unit_of_what_is_claimed(tmp_path: Path) -> None:
    rows = [{**row, "group": f"tree {int(row['image'][2:-4]) // 2}"} for row in answer_rows(120)]
    claim = fit_answers(rows, tmp_path / "panel").panel.claim(load_settings().policy)
    assert claim is not None
    assert (claim.images, claim.groups, claim.grouping) == (120, 60, "given")
    two = [*answer_rows(60), *answer_rows(60, seed=1), *answer_rows(60, seed=2)]
    by_name = fit_answers(two, tmp_path / "other", group="{group}-*.jpg").panel
    assert set(by_name.labelled_images.groups) == {"0", "1", "2"}


def test_a_label_that_is_never_true_is_known_where_it_has_probabilities(tmp_path: Path) -> None:
    rows = [
        {**row, "p_blight": 0.0} if row["agent"] == "net" else row for row in answer_rows(90) if row["agent"] != "vlm"
    ]
    panel = fit_answers(rows, tmp_path / "panel").panel
    assert panel.task.names == ("blight", *LABELS)
    assert all(d.posterior["blight"] < 0.1 for d in diagnoses(tmp_path / "panel", rows[:30]))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"image": "a", "agent": "x", "label": "rust"}], "no image has a truth"),
        (
            [{"image": n, "agent": "x", "label": "scab", "truth": "rust"} for n in range(9)],
            "every truth is 'rust'; give images of another label",
        ),
        ([*answer_rows(3), {"image": "z", "agent": "net", "p_rust": 1.0}], "of rust, but not of 'canker'"),
        ([{"image": "z", "agent": "reasoner", "label": "a", "truth": "a"}], "'reasoner' is the name of the reasoner"),
        ([*answer_rows(3), {"image": "z", "agent": "Ann", "truth": "blight", "label": "rust"}],
         "probabilities of canker, rust, scab, but not of 'blight'"),
    ],
)  # fmt: skip
def test_what_teaches_nothing_is_refused_and_nothing_is_written(tmp_path: Path, rows: Rows, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        fit_answers(rows, tmp_path / "panel")
    assert not (tmp_path / "panel").exists()


def test_a_truth_outside_the_task_is_named_with_its_row(tmp_path: Path) -> None:
    task = Task.from_labels(["rust", "scab"])
    rows = [{"image": n, "agent": "Ann", "label": "rust", "truth": truth} for n, truth in enumerate(LABELS)]
    with pytest.raises(DatasetError, match="row 1: the truth 'canker' is no label of the task, which knows rust, scab"):
        fit_answers(rows, tmp_path / "panel", task=task)


def test_models_and_images_have_no_place_beside_answers(tmp_path: Path, panel: Path) -> None:
    model = {"kind": "endpoint", "name": "qwen", "model": "qwen", "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(SettingsError, match="models are asked about images"):
        fit_answers(answer_rows(9), tmp_path / "panel", models=[model])
    with pytest.raises(EncoderError, match="was fitted on agents' answers and cannot look at images"):
        consilience.diagnose(np.zeros((32, 32, 3), np.uint8), panel=panel)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [{"image": "a", "agent": "Bob", "label": "rust"}],
            "none of the agents Bob; it has trust in net, Ann, vlm",
        ),
        ([{"image": "a", "agent": "net", "p_rust": 0.5, "p_oak": 0.5}], "of 'oak', which is no label of the task"),
        ([{"image": "a", "agent": "net", "p_rust": 0.5, "p_scab": 0.5}], "but not of 'canker'"),
        ([{"image": "a", "agent": "Ann", "label": "rust"}] * 2, "row 2: 'a' has an answer of 'Ann' already, in row 1"),
    ],
)
def test_answers_that_do_not_fit_the_panel_are_refused(panel: Path, rows: Rows, problem: str) -> None:
    with pytest.raises(ConsilienceError, match=problem):
        diagnoses(panel, rows)


def test_people_weighed_together_are_better_than_the_best_of_them(tmp_path: Path) -> None:
    """39 people on 108 photos of birds; the panel learns from every other photo."""
    import csv

    with real_data("answers/bluebirds.csv").open() as file:
        rows = [*csv.DictReader(file)]
    images = sorted({row["image"] for row in rows})
    known = set(images[::2])
    report = fit_answers([row for row in rows if row["image"] in known], tmp_path / "panel")
    assert len(report.panel.agents) == 39
    new = [row for row in rows if row["image"] not in known]
    truth = {row["image"]: row["truth"] for row in new}
    right = np.mean([d.label == truth[d.source] for d in diagnoses(tmp_path / "panel", new)])
    majority = np.mean([np.mean([r["label"] == r["truth"] for r in new if r["image"] == i]) > 0.5 for i in truth])
    assert right > majority
