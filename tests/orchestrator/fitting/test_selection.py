"""Agents are chosen by what the fusion would lose without them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from click.testing import CliRunner

from consilience.agents import FeatureAgent, LabelledFeatures
from consilience.agents.base import softmax
from consilience.core.errors import AgentError
from consilience.core.task import Task
from consilience.frontends.cli.main import main
from consilience.orchestrator.fitting.collect import MemberAnswers
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.fitting.fit_ensemble import fit_ensemble
from consilience.orchestrator.fitting.selection import candidates, select
from consilience.orchestrator.panel.panel import Panel

TASK = Task.from_labels(["ash", "elm", "fir"])


def head_called(name: str) -> FeatureAgent:
    """Stands for a fitted head: only its name counts here."""
    return cast("FeatureAgent", SimpleNamespace(name=name))


def predicted(labels: np.ndarray, skill: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((len(labels), 3))
    return softmax(3 * (skill * np.eye(3)[labels] + noise))


def features_of(labels: np.ndarray) -> LabelledFeatures:
    """Vectors near a corner for each label: who is kept does not depend on them."""
    rows = np.eye(3, 8)[labels] + 0.1 * np.random.default_rng(0).standard_normal((len(labels), 8))
    return LabelledFeatures((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels, 3)


@pytest.mark.parametrize("seed", range(5))
def test_who_adds_something_is_kept_and_who_adds_noise_or_repeats_is_dropped(seed: int) -> None:
    labels, folds = np.arange(300) % 3, np.arange(300) // 3 % 5
    good, other = predicted(labels, 1.5, 10 * seed), predicted(labels, 1.5, 10 * seed + 1)
    looks = {"probe": good, "gaussian": other, "tip-adapter": good, "neighbours": predicted(labels, 0.0, 10 * seed + 2)}
    answers = [MemberAnswers(name, "first", raw) for name, raw in looks.items()]
    heads = tuple(head_called(name) for name in looks)
    fitted = fit_ensemble(heads, answers, TASK, features_of(labels), folds)
    chosen, choices = select(fitted, TASK, features_of(labels))
    kept = {choice.agent for choice in choices if choice.kept}
    assert "gaussian" in kept
    assert len(kept & {"probe", "tip-adapter"}) == 1
    assert "neighbours" not in kept
    assert {head.name for head in chosen.heads} == kept == {member.agent for member in chosen.members}
    assert len(choices) == 4
    for choice in choices:
        assert choice.reason.startswith(
            "kept: predictions get worse without it (log loss +"
            if choice.kept
            else "dropped: predictions are as good without"
        )


def test_an_agent_that_was_asked_for_by_name_stays_and_one_head_may_be_too_many() -> None:
    labels, folds = np.arange(300) % 3, np.arange(300) // 3 % 5
    answers = [
        MemberAnswers("probe", "first", predicted(labels, 0.0, 1)),
        MemberAnswers("qwen", "first", predicted(labels, 2.5, 2)),
    ]
    fitted = fit_ensemble((head_called("probe"),), answers, TASK, features_of(labels), folds)
    chosen, (choice,) = select(fitted, TASK, features_of(labels))
    assert (choice.agent, choice.kept) == ("probe", False)
    assert [member.agent for member in chosen.members] == ["qwen"]
    alone = fit_ensemble((head_called("probe"),), answers[:1], TASK, features_of(labels), folds)
    (choice,) = select(alone, TASK, features_of(labels))[1]
    assert choice.kept  # a panel without agents says nothing


def test_what_cannot_be_tried_is_named_with_what_it_needs() -> None:
    single = LabelledFeatures(np.eye(3, 8, dtype=np.float32), np.arange(3), 3)
    names, out = candidates(single)
    assert names == ["neighbours", "probe", "gaussian", "tip-adapter"]
    reasons = {choice.agent: choice.reason for choice in out}
    assert reasons["zero-shot"] == reasons["caps-adapter"] == "not tried: the encoder cannot read text"
    assert "at least 2 images of each label (the rarest has 1)" in reasons["tip-adapter-f"]
    assert not any(choice.kept for choice in out)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(2)
    labels = np.arange(45) % 3
    rows = np.eye(3, 8)[labels] + 0.5 * rng.standard_normal((45, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    path = tmp_path_factory.mktemp("vectors") / "v.npz"
    np.savez(path, embeddings=rows.astype(np.float32), labels=[f"t{n}" for n in labels], names=[*map(str, range(45))])
    return path


def test_a_panel_remembers_why_and_commands_show_it(vectors: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    fitted = runner.invoke(main, ["fit", str(vectors), "--panel", str(tmp_path / "p"), "--agents", "auto", "--json"])
    assert fitted.exit_code == 0, fitted.output
    choices = json.loads(fitted.stdout)["choices"]
    assert {choice["agent"] for choice in choices if choice["kept"]} == set(Panel.open(tmp_path / "p").agents)
    shown = runner.invoke(main, ["show", str(tmp_path / "p")]).stdout
    plain = " ".join(shown.split())
    for choice in choices:
        assert f"{choice['agent']} {choice['reason']}" in plain
    again = runner.invoke(main, ["show", str(tmp_path / "p"), "--json"])
    assert json.loads(again.stdout)["choices"] == choices


def test_auto_stands_alone(vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no agent 'auto'"):
        fit(vectors, tmp_path / "p", agents=["auto", "probe"])
