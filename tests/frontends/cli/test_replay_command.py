"""`consilience replay` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from consilience.frontends.cli.main import main
from tests.support.real_data import real_data

ANSWERS = """\
id,Image,Category,RAG_response,Qwen_1,Qwen_1_confidence,Qwen,Qwen_confidence,Orchestrator,Orchestrator_confidence
1,a.jpg,rust,"[{""category"": ""rust"", ""confidence"": 1.0}]",scab,0.9,rust,0.9,scab,0.9
2,b.jpg,scab,"[{""category"": ""scab"", ""confidence"": 1.0}]",scab,0.9,scab,0.9,scab,0.9
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text(ANSWERS, encoding="utf-8")
    return path


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "trust.json"
    path.write_text(json.dumps({"n": 100, "agents": {"Qwen": {"ece": 0.4, "ocr": 0.4, "ccc": 0.1}}}))
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    embeddings = np.repeat(np.eye(2, 8), 20, axis=0) + 0.05 * rng.standard_normal((40, 8))
    labels = np.repeat(["rust", "scab"], 20)
    path = tmp_path / "memory.npz"
    np.savez(path, embeddings=embeddings.astype(np.float32), labels=labels, names=np.arange(40).astype(str))
    return path


def test_the_papers_accuracies_stand_beside_those_who_are_scored(tmp_path: Path, answers: Path, trust: Path) -> None:
    command = (answers, "--trust", trust, "--out", tmp_path / "out")
    result = run(*command, "--beside", "III")
    assert result.exit_code == 0, result.output
    last = {line.split("  ")[0].strip(): line.split()[-2:] for line in result.output.splitlines() if "  " in line}
    assert last["Who"][-1] == "Published"
    assert last["recorded orchestrator"] == ["85.6", "%"]
    assert last["Qwen, second look"] == ["73.1", "%"]
    assert "%" not in last["fusion"]
    assert "I 56.9 % and 48.1 %, II 98.1 % and 97.5 %, III 96.3 % and 85.6 %" in result.output
    assert "Published" not in run(*command).output


def test_it_prints_a_table_beside_the_recorded_orchestrator_and_writes_metrics(
    tmp_path: Path, answers: Path, trust: Path, memory: Path
) -> None:
    result = run(answers, "--trust", trust, "--memory", memory, "--out", tmp_path / "new" / "out")
    assert result.exit_code == 0, result.output
    lines = {line.split("  ")[0].strip(): line for line in result.output.splitlines()}
    assert "50.0 %" in lines["recorded orchestrator"]
    assert "100 %" in lines["fusion"]
    assert "Second looks on 0 of 2 rows (0 %)" in result.output
    metrics = json.loads((tmp_path / "new" / "out" / "metrics.json").read_text(encoding="utf-8"))
    accuracy = {score["who"]: score["accuracy"] for score in metrics["scores"]}
    assert accuracy == {
        "Qwen": 0.5,
        "neighbours": 1.0,
        "Qwen, second look": 1.0,
        "recorded orchestrator": 0.5,
        "fusion": 1.0,
    }
    assert metrics["second_looks"] == {"rows": 0, "share": 0.0}


def test_json_is_what_is_written(tmp_path: Path, answers: Path, trust: Path) -> None:
    result = run(answers, "--trust", trust, "--out", tmp_path, "--json", "--set", "policy.second_look=never")
    assert json.loads(result.output) == json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert json.loads(result.output)["policy"]["second_look"] == "never"


def test_something_must_be_known_of_the_agents(tmp_path: Path, answers: Path) -> None:
    result = run(answers, "--out", tmp_path)
    assert result.exit_code == 2
    assert "Give --trust or --calibrate-on" in result.output


def test_the_rows_that_are_replayed_are_not_learned_from(tmp_path: Path, answers: Path) -> None:
    result = run(answers, "--calibrate-on", answers, "--out", tmp_path)
    assert result.exit_code == 1
    assert "2 images are both replayed and calibrated on" in result.output


def test_an_error_is_one_line(tmp_path: Path, answers: Path, trust: Path) -> None:
    answers.write_text(ANSWERS.replace("scab,0.9,rust", "scab,43,rust"), encoding="utf-8")
    result = run(answers, "--trust", trust, "--out", tmp_path)
    assert result.exit_code == 1
    assert "row 1: 'Qwen_1_confidence' is '43'" in result.output
    assert len(result.output.splitlines()) == 1


def test_rows_without_an_answer_are_told_by_the_exit_code(tmp_path: Path, trust: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("id,Category,Qwen,Qwen_confidence\n1,rust,rust,0.9\n2,scab,unsure,0.9\n3,scab,scab,0.9\n")
    result = run(path, "--trust", trust, "--out", tmp_path)
    assert result.exit_code == 3
    assert "no agent answered on 1 of 3 rows" in result.output


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, answers: Path, trust: Path) -> None:
    result = run(answers, "--trust", trust, "--out", answers)
    assert result.exit_code == 1
    assert "metrics.json' cannot be written" in result.output


def test_the_published_run(tmp_path: Path) -> None:
    runs = real_data("recorded-runs")
    known = runs / "clip_vit_b32_train.npz"
    result = run(
        runs / "case3_trust_rag.csv", "--trust", runs / "train_trust.json", "--memory", known, "--out", tmp_path
    )
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    *_, orchestrator, fusion = metrics["scores"]
    assert orchestrator["accuracy"] == pytest.approx(0.9)
    assert fusion["accuracy"] >= 0.9875
    assert fusion["ece"] <= 0.03
    assert metrics["second_looks"]["share"] <= 0.15
