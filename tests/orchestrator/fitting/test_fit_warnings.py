"""What too few images do not allow is said with the label and with how many it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consilience.core.diagnosis import Diagnosis
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import FitReport, fit
from consilience.orchestrator.panel.panel import Panel


def fitted_on(folder: Path, counts: tuple[int, ...]) -> FitReport:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = np.eye(len(counts), 12)[labels] + 0.1 * rng.standard_normal((len(labels), 12))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"image {number}" for number in range(len(labels))]
    np.savez(folder / "v.npz", embeddings=rows.astype(np.float32), labels=[f"tree-{n}" for n in labels], names=names)
    return fit(folder / "v.npz", folder / "panel", agents=["gaussian"], group="none")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((40, 40, 40), ()),
        (
            (1, 1, 1),
            ("With one image of each label the agents cannot be tested", "few labelled images (1 of each label, on"),
        ),
        ((4, 4, 4), ("Only 12 images test the agents", "few labelled images (4 of each label, on average)")),
        ((40, 1, 40), ("Only one image shows 'tree-1'",)),
        ((40, 8, 40), ("'tree-1' has far fewer images than the other labels (8 against about 40)",)),
        ((40, 9, 40), ()),
    ],
)
def test_warnings_name_what_is_lacking(counts: tuple[int, ...], expected: tuple[str, ...], tmp_path: Path) -> None:
    warnings = fitted_on(tmp_path, counts).warnings
    assert len(warnings) == len(expected)
    for warning, words in zip(warnings, expected, strict=True):
        assert words in warning


def test_with_few_labels_unlabelled_images_are_asked_for_until_there_are_some(tmp_path: Path) -> None:
    assert "Images without labels help, too: --unlabelled" in fitted_on(tmp_path, (4, 4, 4)).warnings[-1]
    rows = np.random.default_rng(0).standard_normal((30, 12))
    np.savez(tmp_path / "others.npz", embeddings=rows, names=[f"other {number}" for number in range(30)])
    report = fit(tmp_path / "v.npz", tmp_path / "beside", unlabelled=tmp_path / "others.npz")
    assert not [warning for warning in report.warnings if "--unlabelled" in warning]


def test_a_panel_of_one_image_a_label_answers_and_refers(tmp_path: Path) -> None:
    report = fitted_on(tmp_path, (1, 1, 1))
    assert report.warnings == fitted_panel_warnings(tmp_path)
    new = np.eye(3, 12, dtype=np.float32)
    with Diagnoser.open(tmp_path / "panel") as diagnoser:
        results = list(diagnoser.diagnose_vectors(new, ["a", "b", "c"]))
    diagnoses = [result for result in results if isinstance(result, Diagnosis)]
    assert [diagnosis.label for diagnosis in diagnoses] == ["tree-0", "tree-1", "tree-2"]
    assert {diagnosis.verdict for diagnosis in diagnoses} == {"refer"}


def fitted_panel_warnings(folder: Path) -> tuple[str, ...]:
    """Of the panel as it is read back."""
    from consilience.orchestrator.fitting.fit_warnings import fit_warnings

    return fit_warnings(Panel.open(folder / "panel"))
