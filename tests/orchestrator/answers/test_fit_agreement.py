"""Panels of answers without truth: trust is estimated from agreement, said to be, and promises nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, Task, evaluate, fit_answers
from consilience.core.errors import DatasetError, PanelError, SettingsError
from consilience.core.settings.settings import load_settings
from consilience.orchestrator.decision.agreement_policy import ALONE, TOO_LOW
from consilience.orchestrator.decision.explain import ESTIMATED
from consilience.orchestrator.feedback.drift import drift
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.feedback.learning import learn
from consilience.orchestrator.panel.panel import Panel
from tests.support.answer_rows import LABELS, answer_rows, as_csv, diagnoses
from tests.support.made_once import made_once

Rows = list[dict[str, Any]]


def without_truth(rows: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name != "truth"} for row in rows]


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = without_truth(answer_rows(240))
    return made_once(tmp_path_factory, "agreement-panel", lambda folder: fit_answers(rows, folder, truth=False))


def test_agents_that_agree_on_what_nobody_labelled_are_better_together_than_the_best_of_them(panel: Path) -> None:
    new = answer_rows(300, seed=1)
    truth = {row["image"]: row["truth"] for row in new}
    found = diagnoses(panel, without_truth(new))
    right = np.mean([diagnosis.label == truth[diagnosis.source] for diagnosis in found])
    best = np.mean([row["label"] == row["truth"] for row in new if row["agent"] == "Ann"])
    assert right > best + 0.03
    estimated = {member.agent: member.trust.accuracy for member in Panel.open(panel).members}
    assert estimated["Ann"] == pytest.approx(best, abs=0.06)


def test_trust_is_told_apart_from_measured_trust_and_nothing_is_claimed(panel: Path) -> None:
    opened, policy = Panel.open(panel), load_settings().policy
    assert opened.agreement is not None
    assert opened.agreement.images == 240
    assert 0.3 < opened.agreement.low < opened.agreement.alpha < 0.7
    assert set(opened.agreement.confusion) == {"net", "Ann", "vlm"}
    assert [(member.trust.n, member.trust.estimated_on) for member in opened.members] == [(0, 240)] * 3
    assert opened.claim(policy) is None
    settles = opened.settles(policy)
    assert (settles.by, settles.threshold.probability, settles.promises) == ("agreement", None, ())
    (diagnosis,) = diagnoses(panel, answer_rows(1, seed=2))
    assert ESTIMATED in diagnosis.rationale
    assert "by agreement right on about" in diagnosis.rationale
    assert "(estimated)" in diagnosis.to_markdown()
    assert Diagnosis.from_dict(diagnosis.to_dict()) == diagnosis


def test_a_truth_that_stands_in_the_table_is_not_looked_at(tmp_path: Path, panel: Path) -> None:
    wrong = [{**row, "truth": LABELS[0]} for row in answer_rows(240)]
    report = fit_answers(wrong, tmp_path / "panel", truth=False)
    assert report.asides == ("the truth of 240 images: without --no-truth, trust is measured on them",)
    same = Panel.open(panel)
    assert [member.calibrator for member in report.panel.members] == [member.calibrator for member in same.members]


def test_what_agents_differ_on_is_referred_unless_a_posterior_is_set(panel: Path) -> None:
    agree = [{"image": "a", "agent": agent, "label": "rust"} for agent in ("Ann", "vlm")]
    differ = [{"image": "b", "agent": "Ann", "label": "rust"}, {"image": "b", "agent": "vlm", "label": "scab"}]
    alone = [{"image": "c", "agent": "Ann", "label": "rust"}]
    one, other, third = diagnoses(panel, [*agree, *differ, *alone])
    assert (one.verdict, one.label) == ("confident", "rust")
    assert "The agents disagree" in other.reasons[0]
    assert third.reasons == (ALONE,)
    low, high = (diagnoses(panel, [*agree, *differ, *alone], policy__agreed_posterior=bound) for bound in (0.5, 0.999))
    assert [diagnosis.settled for diagnosis in low] == [True, other.probability >= 0.5, False]
    assert not any(diagnosis.settled for diagnosis in high)
    assert "99.9 % is needed" in high[0].reasons[0]


def test_answers_by_chance_are_too_little_agreement_and_all_is_referred(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [
        {"image": str(image), "agent": agent, "label": LABELS[random.integers(3)]}
        for image in range(60)
        for agent in ("Ann", "Bob")
    ]
    report = fit_answers(rows, tmp_path / "panel", truth=False)
    assert any("agree too little to tell what they are worth" in warning for warning in report.warnings)
    assert any("Two agents cannot show which of them is right" in warning for warning in report.warnings)
    assert all(TOO_LOW in diagnosis.reasons for diagnosis in diagnoses(tmp_path / "panel", rows))


def test_labels_are_those_that_two_agents_name_and_other_words_are_counted(tmp_path: Path) -> None:
    rows = [row for row in without_truth(answer_rows(60)) if row["agent"] != "net"]
    rows += [{"image": f"x{n}", "agent": "vlm", "label": "I cannot tell"} for n in range(5)]
    rows += [{"image": "y", "agent": "Bob", "label": "rust"}]
    rows += [{**row, "label": "rust", "stage": "revised"} for row in rows[:3]]
    report = fit_answers(rows, tmp_path / "panel", truth=False)
    assert report.panel.task.names == LABELS
    assert report.panel.agents == ("Ann", "vlm")
    assert report.asides == (
        "the revised answers of Ann, vlm: without truth, first answers alone count",
        "5 answers of 'vlm' that name none of the labels",
    )
    assert any("'Bob' is no part of the panel, left out: it answered no image" in line for line in report.warnings)
    given = fit_answers(rows, tmp_path / "given", truth=False, task=Task.from_labels([*LABELS, "blight"]))
    assert given.panel.task.names == (*LABELS, "blight")


def test_with_truth_it_is_measured_as_any_other(tmp_path: Path, panel: Path) -> None:
    table = as_csv(tmp_path / "labelled.csv", answer_rows(60, seed=3))
    evaluation = evaluate(table, panel, tmp_path / "out")
    assert evaluation.metrics.fusion is not None
    assert (evaluation.metrics.fusion.accuracy or 0) > 0.85
    assert "how far they agreed where no truth was known" in (tmp_path / "out" / "report.html").read_text()
    seen = evaluate(as_csv(tmp_path / "same.csv", answer_rows(240)[:9]), panel, tmp_path / "again")
    assert len(seen.leaks()) == 3  # it has learned from these


def test_what_takes_a_truth_says_so(tmp_path: Path, panel: Path) -> None:
    with pytest.raises(PanelError, match="was fitted without truth, and cannot learn labelled images"):
        learn(panel)
    with History.open(panel) as history, pytest.raises(PanelError, match="trust was not measured"):
        drift(Panel.open(panel), history)
    with pytest.raises(SettingsError, match=r"decision\.frequencies and decision\.costs take"):
        Diagnoser.open(panel, decision__frequencies={"rust": 0.5, "scab": 0.2, "canker": 0.3})
    with pytest.raises(SettingsError, match=r"decision\.frequencies and decision\.costs take"):
        fit_answers(answer_rows(9), tmp_path / "new", truth=False, decision__frequencies="estimate")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"image": "a", "agent": "Ann", "label": "rust"}], "'Ann' is the only agent"),
        (
            [{"image": n, "agent": "AB"[n % 2], "label": LABELS[n % 4 // 2]} for n in range(8)],
            "no two agents answered the same image with one of the labels canker, rust",
        ),
        (
            [{"image": n, "agent": agent, "label": LABELS[n % 2] if n else "rust"} for n in range(3) for agent in "AB"][
                :2
            ]
            + [{"image": n, "agent": "AB"[n % 2], "label": "scab"} for n in range(8, 12)],
            "every answer on an image of several is 'rust'",
        ),
        (
            [{"image": n, "agent": agent, "label": "rust"} for n in range(3) for agent in "AB"],
            "only 'rust' is named by",
        ),
        ([{"image": 1, "agent": agent, "label": agent} for agent in "AB"], "no label is named by two agents"),
        (
            [{"image": 1, "agent": "A", "label": "x", "confidence": 2}, {"image": 1, "agent": "B", "label": "x"}],
            "row 1: ",
        ),
    ],
)
def test_what_shows_no_agreement_is_refused_and_nothing_is_written(tmp_path: Path, rows: Rows, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        fit_answers(rows, tmp_path / "panel", truth=False)
    assert not (tmp_path / "panel").exists()
