"""What it tells that an agent looked and named nothing: by hand, by an independent likelihood, and in a panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import betabinom

from consilience import Diagnoser, Diagnosis, fit_answers
from consilience.orchestrator.decision.leave_out import without
from consilience.orchestrator.ensemble.dirichlet import STRENGTHS, WIDTH
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.silence import SILENT, USUAL_IMAGES, WEIGHT, silence_evidence
from tests.support.answer_rows import LABELS, answer_rows

TRUTHS = np.repeat([0, 1], 10)


def first_looks(silent: np.ndarray, fill: float = SILENT) -> np.ndarray:
    """One agent that says 0.5, 0.5 of each image, but nothing where `silent`."""
    return np.where(silent[:, None], fill, np.full((len(silent), 2), 0.5))[None]


def test_counts_are_drawn_to_how_often_the_agent_is_silent_at_all() -> None:
    silent = np.arange(20) < 6  # on 6 of 10 of the first label, on none of the second
    usual = 6.5 / 21
    values = [
        betabinom.logpmf([6, 0], 10, strength * usual, strength * (1 - usual)).sum()
        - (np.log(strength / USUAL_IMAGES) / WIDTH) ** 2 / 2
        for strength in STRENGTHS
    ]
    strength = STRENGTHS[int(np.argmax(values))]
    expected = WEIGHT * np.log((np.array([6, 0]) + strength * usual) / (10 + strength) / usual)
    assert silence_evidence(first_looks(silent), TRUTHS)[0] == pytest.approx(expected)
    assert expected[0] > 0 > expected[1]


def test_what_happens_by_chance_says_next_to_nothing_and_failures_say_nothing() -> None:
    random = np.random.default_rng(0)
    truths, silent = random.integers(0, 2, 400), random.random(400) < 0.3
    assert np.abs(silence_evidence(first_looks(silent), truths)).max() < 0.03
    for never in (first_looks(silent, np.nan), first_looks(np.zeros(400, bool))):
        assert not silence_evidence(never, truths).any()


def test_silence_moves_the_posterior_as_evidence_does() -> None:
    fusion = Fusion(np.ones(2), silence=np.array([[np.log(2), 0.0], [0.0, 0.0]]))
    said = np.array([[[SILENT, SILENT], [np.nan, np.nan]], [[0.4, 0.6], [0.4, 0.6]]])
    posterior, weights = fusion.posterior(said)
    assert posterior == pytest.approx(np.array([[4 / 7, 3 / 7], [0.4, 0.6]]))
    assert weights.tolist() == [[0, 1], [0, 1]]
    assert Fusion.from_dict(fusion.to_dict()).posterior(said)[0] == pytest.approx(posterior)


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A panel whose model 'vlm' looks at nearly every canker and says nothing. Not to be changed."""
    folder = tmp_path_factory.mktemp("silent") / "panel"
    fit_answers(with_silence(answer_rows(240)), folder)
    return folder


def with_silence(rows: list[dict[str, Any]], label: str = "canker") -> list[dict[str, Any]]:
    silent = [row["agent"] == "vlm" and row["truth"] == label and not row["image"].endswith("0.jpg") for row in rows]
    return [
        {**row, "label": "", "confidence": None} if is_silent else row
        for row, is_silent in zip(rows, silent, strict=True)
    ]


def test_a_panel_hears_what_is_not_said(panel: Path) -> None:
    unsure = {"image": "new.jpg", "agent": "net", "p_canker": 0.3, "p_rust": 0.4, "p_scab": 0.3}
    with Diagnoser.open(panel) as diagnoser:

        def diagnosed(*more: dict[str, Any]) -> Diagnosis:
            [diagnosis] = diagnoser.diagnose_answers([unsure, *more])
            assert isinstance(diagnosis, Diagnosis)
            return diagnosis

        not_asked, silent = diagnosed(), diagnosed({"image": "new.jpg", "agent": "vlm", "label": ""})
        assert not_asked.label == "rust"
        assert silent.label == "canker"
        assert silent.posterior["canker"] > not_asked.posterior["canker"] + 0.15
        assert "Abstained: vlm" in silent.rationale
        again = without(silent, [], diagnoser.weigher)
        assert again is not None
        assert again.posterior == pytest.approx(silent.posterior)
        left = without(silent, ["vlm"], diagnoser.weigher)
        assert left is not None
        assert left.posterior == pytest.approx(not_asked.posterior)


def test_it_is_right_more_often_than_without_what_is_not_said(panel: Path, tmp_path: Path) -> None:
    rows, new = with_silence(answer_rows(240)), with_silence(answer_rows(600, seed=1))
    truth = {row["image"]: row["truth"] for row in new}

    def spoken(all_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in all_rows if row.get("label") != ""]

    def accuracy(folder: Path, rows: list[dict[str, Any]]) -> float:
        with Diagnoser.open(folder) as diagnoser:
            found = [result for result in diagnoser.diagnose_answers(rows) if isinstance(result, Diagnosis)]
        return float(np.mean([diagnosis.label == truth[diagnosis.source] for diagnosis in found]))

    fit_answers(spoken(rows), tmp_path / "deaf")
    assert len(truth) == 600
    assert set(truth.values()) == set(LABELS)
    wrong, wrong_if_deaf = 1 - accuracy(panel, new), 1 - accuracy(tmp_path / "deaf", spoken(new))
    assert wrong < 0.75 * wrong_if_deaf
