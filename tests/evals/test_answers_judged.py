"""Panels of answers judged: on a second table, and by cross-validation on the one that they learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, evaluate, fit_answers
from consilience.agents.heads.folds import stratified_folds
from consilience.core.errors import DatasetError, EvaluationError, SettingsError
from consilience.evals.cross_validation import cross_validate
from consilience.evals.engines.ray_engine import Cluster
from tests.support.answer_rows import answer_rows, answers_panel, as_csv, diagnoses


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answers_panel(tmp_path_factory)


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    rows = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    return {row["source"]: row for row in rows}


def test_an_evaluation_holds_what_a_diagnosis_says(panel: Path, tmp_path: Path) -> None:
    new = [*answer_rows(60, seed=1), {"image": "later.jpg", "agent": "Ann", "label": "rust"}]
    evaluation = evaluate(as_csv(tmp_path / "new.csv", new), panel, tmp_path / "out")
    found = diagnoses(panel, new)
    rows = rows_of(tmp_path / "out")
    assert "later.jpg" not in rows  # it has no truth
    for diagnosis in found[:60]:
        row = rows[diagnosis.source]
        assert (row["label"], row["verdict"], row["novelty"]) == (diagnosis.label, diagnosis.verdict, None)
        assert row["posterior"] == pytest.approx(diagnosis.posterior)
    metrics = evaluation.metrics
    right = [rows[row["image"]]["label"] == row["truth"] for row in new[:-1:3]]
    assert metrics.fusion is not None
    assert metrics.images == 60
    assert metrics.fusion.accuracy == pytest.approx(np.mean(right))
    ann = next(figures for figures in metrics.agents if figures.who == "Ann")
    assert ann.raw is not None
    said = [row["label"] == row["truth"] for row in new[:-1] if row["agent"] == "Ann"]
    assert ann.raw.accuracy == pytest.approx(np.mean(said))
    assert (metrics.shift, metrics.leaks) == (None, 0)
    assert "fusion" in (tmp_path / "out" / "report.html").read_text()


def test_images_that_the_panel_learned_from_are_named_and_can_be_left_out(panel: Path, tmp_path: Path) -> None:
    table = as_csv(tmp_path / "t.csv", [*answer_rows(6), *answer_rows(9, seed=1)])
    assert evaluate(table, panel, tmp_path / "out").metrics.leaks == 6
    metrics = evaluate(table, panel, tmp_path / "other", drop_leaks=True).metrics
    assert (metrics.left_out, metrics.n) == (6, 9)


def test_what_answers_cannot_show_is_refused(panel: Path, tmp_path: Path) -> None:
    table = as_csv(tmp_path / "t.csv", answer_rows(6, seed=1))
    with pytest.raises(EvaluationError, match="how novel an image is cannot be told from answers alone"):
        evaluate(table, panel, tmp_path / "a", novel=table)
    with pytest.raises(EvaluationError, match="answers are weighed in this process: evaluate without Ray"):
        evaluate(table, panel, tmp_path / "b", cluster=Cluster(None, None))
    with pytest.raises(SettingsError, match="frequencies are estimated from images"):
        evaluate(table, panel, tmp_path / "c", decision__frequencies="estimate")
    strange = as_csv(tmp_path / "s.csv", answer_rows(6, seed=1, truth="blight"))
    with pytest.raises(DatasetError, match="has labels that the task does not know: 'blight'"):
        evaluate(strange, panel, tmp_path / "d")
    unknown = as_csv(tmp_path / "u.csv", answer_rows(6, seed=1, truth=""))
    with pytest.raises(DatasetError, match="no image has a truth"):
        evaluate(unknown, panel, tmp_path / "e")


def test_each_image_is_judged_by_what_the_other_folds_teach(tmp_path: Path) -> None:
    rows = [{**row, "group": f"tree {int(row['image'][2:-4]) // 2}"} for row in answer_rows(90)]
    table = as_csv(tmp_path / "t.csv", rows)
    evaluation = cross_validate(table, tmp_path / "out", folds=3)
    judged = rows_of(tmp_path / "out")
    assert len(judged) == evaluation.metrics.n == 90
    assert all(sum(p["weight"] or 0 for p in row["predictions"]) > 0 for row in judged.values())
    images = list(dict.fromkeys(row["image"] for row in rows))
    groups = np.unique([row["group"] for row in rows[::3]], return_inverse=True)[1]
    folds = stratified_folds(np.arange(90) % 3, 3, 0, groups)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    held_out = {image for image, fold in zip(images, folds, strict=True) if fold == 1}
    fit_answers([row for row in rows if row["image"] not in held_out], tmp_path / "panel")
    with Diagnoser.open(tmp_path / "panel") as diagnoser:
        for diagnosis in diagnoser.diagnose_answers([row for row in rows if row["image"] in held_out]):
            assert isinstance(diagnosis, Diagnosis)
            assert judged[diagnosis.source]["posterior"] == pytest.approx(diagnosis.posterior)
            assert judged[diagnosis.source]["verdict"] == diagnosis.verdict


def test_an_interrupted_cross_validation_goes_on(tmp_path: Path) -> None:
    table, out = as_csv(tmp_path / "t.csv", answer_rows(60)), tmp_path / "out"
    whole = cross_validate(table, out, folds=2).metrics.to_dict()
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(lines[:40]))
    again = cross_validate(table, out, folds=2).metrics.to_dict()
    assert again["fusion"] == whole["fusion"]
    with pytest.raises(EvaluationError, match=r"holds another run: choice\.folds was 2 and is 3"):
        cross_validate(table, out, folds=3)
    with pytest.raises(EvaluationError, match="1 folds cannot be judged by each other"):
        cross_validate(table, tmp_path / "other", folds=1)


def test_a_label_of_one_image_is_judged_without_it(tmp_path: Path) -> None:
    rows = [{**row, "truth": "rust" if row["truth"] == "scab" else row["truth"]} for row in answer_rows(60)]
    for row in rows[:3]:
        row["truth"] = "scab"
    evaluation = cross_validate(as_csv(tmp_path / "t.csv", rows), tmp_path / "out", folds=2)
    assert evaluation.metrics.n == 60
