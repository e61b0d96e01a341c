"""Suspects: what the panel believes least out of fold comes first, copies under two labels, and what nobody judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import fit, fit_answers
from consilience.core.errors import PanelError
from consilience.orchestrator.label_errors.suspects import suspects
from consilience.orchestrator.panel.panel import Panel
from tests.support.answer_rows import answer_rows, answers_panel

WRONG = (4, 17, 33)
"""Rows of 60 that get another label."""


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory, blobs: Any) -> Path:
    """A panel on sixty vectors around three centres, three of them under the label of another one."""
    folder = tmp_path_factory.mktemp("mislabelled")
    vectors, labels = blobs.drawn(60, 1)
    for row in WRONG:
        labels[row] = next(name for name in blobs.names if name != labels[row])
    fit(blobs.save(folder / "v.npz", vectors, labels), folder / "panel")
    return folder / "panel"


def test_planted_labels_come_first_with_what_the_panel_says(mislabelled: Path, blobs: Any) -> None:
    found = suspects(mislabelled, 3)
    _, truths = blobs.drawn(60, 1)
    assert {suspect.source for suspect in found.shown} == {f"v-{row}" for row in WRONG}
    assert [suspect.named for suspect in found.shown] == [truths[int(s.source.partition("-")[2])] for s in found.shown]
    assert all("contradicted" in suspect.why for suspect in found.shown)
    believed = [suspect.given_probability or 0.0 for suspect in found.shown]
    assert believed == sorted(believed)
    assert believed[-1] < 0.2
    assert found.total >= 3
    assert found.unjudged == 0


def test_they_follow_from_what_fit_measured_out_of_fold(mislabelled: Path) -> None:
    panel = Panel.open(mislabelled)
    posterior = dict(zip(panel.predictions.ids, panel.calibration_set.posterior, strict=True))
    for suspect in suspects(mislabelled, 60).shown:
        assert suspect.named_probability == pytest.approx(posterior[suspect.id].max())
        assert suspect.given_probability == posterior[suspect.id][panel.task.names.index(suspect.given)]


def test_what_is_novel_and_unsure_is_left_to_a_person(mislabelled: Path) -> None:
    never, always = (suspects(mislabelled, 60, policy__max_novelty=most) for most in (1.0, 0.0))
    assert not any("none-of-these" in suspect.why for suspect in never.shown)
    assert [suspect.proposed for suspect in never.shown] == [suspect.named for suspect in never.shown]
    unsure = [suspect for suspect in always.shown if "none-of-these" in suspect.why]
    assert len(unsure) >= 3
    assert all((suspect.given_probability or 0.0) < 0.8 and suspect.proposed is None for suspect in unsure)


def test_images_whose_predictions_are_gone_are_unjudged(mislabelled: Path, tmp_path: Path) -> None:
    panel = Panel.open(mislabelled)
    kept = np.arange(60) % 2 == 0
    half = panel.predictions.take(kept)
    replaced = type(panel)(**{**panel.__dict__, "predictions": half})
    replaced.save(tmp_path / "half")
    found = suspects(tmp_path / "half", 60)
    assert found.unjudged == 30
    assert {suspect.id for suspect in found.shown} <= set(half.ids)


def test_answers_with_a_truth_are_judged_as_images_are(tmp_path_factory: pytest.TempPathFactory) -> None:
    panel = Panel.open(answers_panel(tmp_path_factory))
    found = suspects(panel.path, 240)
    wrong = int((~panel.calibration_set.correct).sum())
    assert sum("contradicted" in suspect.why for suspect in found.shown) == wrong > 0


def test_without_truth_no_label_is_doubted(tmp_path: Path) -> None:
    fit_answers(answer_rows(60), tmp_path / "panel", truth=False)
    with pytest.raises(PanelError, match="fitted without truth"):
        suspects(tmp_path / "panel")
