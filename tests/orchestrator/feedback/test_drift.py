"""Drift is found where there is one, with its beginning, and seldom where there is none."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import LearningSettings
from consilience.orchestrator.feedback.drift import MIN_IMAGES, Drift, change_point, drift
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.feedback.learning import learn
from consilience.orchestrator.panel.panel import Panel


@pytest.fixture
def own(panel: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(panel, tmp_path / "own", ignore=shutil.ignore_patterns("history.sqlite*")))


def confirmed(own: Path, vectors: np.ndarray, labels: list[str]) -> list[str]:
    with Diagnoser.open(own) as diagnoser, History.open(own) as history:
        feedbacks, ids = Feedbacks(history, LearningSettings(review="at-once")), []
        results = diagnoser.diagnose_vectors(vectors, [str(n) for n in range(len(vectors))])
        for result, label in zip(results, labels, strict=True):
            assert isinstance(result, Diagnosis)
            ids.append(history.keep(result).id)
            feedbacks.give(ids[-1], "Ada", label)
    return ids


def drift_of(own: Path) -> Drift:
    with History.open(own) as history:
        return drift(Panel.open(own), history)


def test_the_change_point_is_worked_out_by_hand() -> None:
    row = np.array([True] * 10 + [False] * 5)
    place, ratio = change_point(row, 5)
    whole = 10 * math.log(10 / 15) + 5 * math.log(5 / 15)
    assert place == 10
    assert ratio == pytest.approx(-whole)  # before and after, all is certain
    assert change_point(np.array([False] * 5 + [True] * 10), 1) == (15, 0.0)  # better is no drift
    assert change_point(np.array([True] * 10 + [False] * (MIN_IMAGES - 1)), 10) == (14, 0.0)  # too few to tell


def test_the_accuracy_at_fit_is_the_one_that_the_panel_shows(
    own: Path, blobs: Any, scripted: Any, tmp_path: Path
) -> None:
    """Also where calibration changes which label leads, as it does for an agent that is sure of the wrong one."""
    assert {(agent.agent, agent.fitted, agent.fitted_images) for agent in drift_of(own).agents} == {
        (member.agent, member.trust.accuracy, member.trust.n) for member in Panel.open(own).members
    }
    source = blobs.save(tmp_path / "vectors.npz", *blobs.drawn(60, 3, 0.6))

    def lopsided(inputs: Any) -> list[Prediction]:
        near = np.exp(4.0 * inputs.features @ blobs.centres.T) * np.array([6.0, 1.0, 1.0])
        rows = near / near.sum(axis=1, keepdims=True)
        return [Prediction("", probabilities=dict(zip(blobs.names, row, strict=True))) for row in rows.tolist()]

    settings, agents = load_settings(agents="neighbours"), [scripted("lopsided", lopsided)]
    written = fit(source, tmp_path / "panel", settings=settings, agents=agents, group="none").panel
    raw, labels = written.predictions.raw, written.predictions.labels
    shown = [member.trust.accuracy for member in written.members]
    assert [agent.fitted for agent in drift_of(tmp_path / "panel").agents] == pytest.approx(shown)
    assert [float((answers.argmax(axis=1) == labels).mean()) for answers in raw] != pytest.approx(shown)


def test_a_fall_is_found_with_its_beginning(own: Path, blobs: Any) -> None:
    vectors, labels = blobs.drawn(60, 21)
    vectors[30:] = np.roll(vectors[30:], 1, axis=1)
    ids = confirmed(own, vectors, labels)
    report = drift_of(own)
    assert (report.diagnosed, report.confirmed) == (60, 60)
    assert len(report.fallen) == 2
    with History.open(own) as history:
        around = [history.get(ids[n]).when for n in (26, 34)]
    for agent in report.fallen:
        assert agent.since is not None
        assert around[0] <= agent.since <= around[1]
        assert agent.p_value == pytest.approx(
            2 / 2000
        )  # the least there is, times two agents; Holm's second is as great
        assert agent.recent is not None
        assert agent.recent < 0.25
        assert agent.fitted_images == 90
    learn(own, learning__half_life_images=20.0)  # who learned it keeps the measure that fit took
    again = drift_of(own)
    assert again.fallen == report.fallen


def test_there_is_none_where_nothing_has_changed(own: Path, blobs: Any) -> None:
    """With one of twenty seeds there would be a false alarm, as the next test counts."""
    confirmed(own, *blobs.drawn(60, 23))
    report = drift_of(own)
    assert report.fallen == ()
    assert all(agent.p_value > 0.05 for agent in report.agents)


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised() -> None:
    from datetime import UTC, datetime

    from consilience.orchestrator.feedback import drift as module

    rng, alarms, runs = np.random.default_rng(0), 0, 60
    for _ in range(runs):
        before, after = rng.random(100) < 0.8, rng.random(30) < 0.8
        compared = module._compared("a", "first", before, [(datetime.now(UTC), bool(right)) for right in after], rng)
        alarms += compared.p_value < 0.05
    assert alarms <= 8  # 3 are expected; more than 8 have a chance of 0.4 %


def test_without_feedback_nothing_is_said(own: Path) -> None:
    report = drift_of(own)
    assert (report.fallen, report.confirmed) == ((), 0)
    assert all(agent.accuracy is None and agent.p_value == 1.0 for agent in report.agents)
    assert report.to_dict()["agents"][0]["since"] is None


def test_images_that_the_memory_held_do_not_count(own: Path) -> None:
    labelled_images = Panel.open(own).labelled_images
    confirmed(own, labelled_images.vectors[:10], list(labelled_images.labels[:10]))
    assert drift_of(own).confirmed == 0
