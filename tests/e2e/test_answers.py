"""Tables of answers on the command line: fitted, judged, diagnosed, and refused where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consilience import fit_answers
from consilience.orchestrator.panel.panel import Panel
from tests.support.answer_rows import answer_rows, answers_panel, as_csv
from tests.support.commands import Invoke


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answers_panel(tmp_path_factory)


def test_the_commands_take_tables_of_answers(tmp_path: Path, invoke: Invoke) -> None:
    known = as_csv(tmp_path / "known.csv", answer_rows(60))
    more = as_csv(tmp_path / "more.csv", [{**row, "truth": ""} for row in answer_rows(3, seed=1)])
    new = as_csv(tmp_path / "new.csv", answer_rows(30, seed=2))
    panel, out = tmp_path / "panel", tmp_path / "out"
    fitted = invoke("fit", known, "--panel", panel, "--cross-validate", 2, "--out", tmp_path / "cv")
    assert fitted.exit_code == 0, fitted.output
    assert "Each image judged by what the other parts of the table teach" in fitted.output
    assert f"consilience diagnose ANSWERS.csv --panel {panel}" in fitted.output.replace("\n", "")
    assert (tmp_path / "cv" / "report.html").exists()
    assert "none: it weighs answers, and looks at no images" in invoke("show", panel).output
    assert json.loads(invoke("show", panel, "--json").output)["encoder"] is None
    assert invoke("check", panel).exit_code == 0
    assert invoke("evaluate", new, "--panel", panel, "--out", out).exit_code == 0
    lines = invoke("diagnose", more, "--panel", panel, "--json").output.splitlines()
    diagnoses = [json.loads(line) for line in lines if line.startswith("{")]
    assert [diagnosis["source"] for diagnosis in diagnoses] == ["1-0.jpg", "1-1.jpg", "1-2.jpg"]
    assert all(diagnosis["novelty"] is None for diagnosis in diagnoses)
    listed = invoke("history", "--panel", panel)
    assert "1-2.jpg" in listed.output


def test_without_truth_the_commands_say_that_trust_is_estimated(tmp_path: Path, invoke: Invoke) -> None:
    table = as_csv(tmp_path / "answers.csv", [{**row, "truth": ""} for row in answer_rows(60)])
    panel = tmp_path / "panel"
    fitted = invoke("fit", table, "--panel", panel, "--no-truth")
    shown = invoke("show", panel)
    for result in (fitted, shown):
        words = " ".join(result.output.split())
        assert "(estimated)" in words
        assert (
            "Trust is estimated from how far 3 agents agree on 60 images, and not measured: nothing is promised"
            in words
        )
        assert "all agents that answered, two at least, speak for one label" in words
    facts = json.loads(invoke("show", panel, "--json").output)
    assert (facts["trust_from"], facts["claim"], facts["policy"]["settle"]) == ("agreement", None, "agreement")
    assert facts["agreement"]["images"] == 60
    assert invoke("check", panel).exit_code == 0
    lines = invoke("diagnose", table, "--panel", panel, "--set", "policy.agreed_posterior=0.9", "--json").output
    assert "estimated_on" in lines.splitlines()[0]
    assert "cannot learn labelled images" in invoke("learn", "--panel", panel).output
    for arguments, problem in (
        (("fit", tmp_path, "--panel", tmp_path / "p", "--no-truth"), "--no-truth is for a table of answers"),
        (("fit", table, "--panel", tmp_path / "p", "--no-truth", "--group", "parent"), "leave out --no-truth"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert problem in " ".join(result.output.split())


def test_a_panel_of_answers_learns_from_feedback_and_forgets_again(tmp_path: Path, invoke: Invoke) -> None:
    panel, at_once = tmp_path / "panel", ("--set", "learning.review=at-once")
    fit_answers(answer_rows(60), panel)
    lines = invoke("diagnose", as_csv(tmp_path / "m.csv", answer_rows(1, seed=1)), "--panel", panel, "--json").output
    id = json.loads(lines.splitlines()[0])["id"]
    assert invoke("feedback", id, "--label", "canker", "--panel", panel, *at_once).exit_code == 0
    learned = invoke("learn", "--panel", panel, *at_once)
    assert "1 image joined the panel's memory (canker 1); the agents' trust was measured on 1 of them" in learned.output
    opened = Panel.open(panel)
    assert (len(opened.labelled_images), opened.members[1].trust.n) == (61, 61)
    assert "1 image left the panel's memory" in invoke("undo", 1, "--panel", panel).output
    assert invoke("remove", "0-0.jpg", "--panel", panel).exit_code == 0
    assert len(Panel.open(panel).labelled_images) == 59


def test_wrong_usage_is_named(tmp_path: Path, panel: Path, invoke: Invoke) -> None:
    table = as_csv(tmp_path / "t.csv", [{"image": "a", "agent": "Ann", "truth": "rust", "p_rust": 0.5, "p_scab": 0.2}])
    new = tmp_path / "p"
    for arguments, code, problem in (
        (("fit", table, "--panel", new), 1, "row 1: the probabilities sum to 0.7, not to 1"),
        (("fit", table, "--panel", new, "--agents", "probe"), 2, "go with images; here are answers"),
        (("fit", table, "--panel", new, "--cross-validate", 5), 2, "--cross-validate and --out need each"),
        (
            ("fit", tmp_path, "--panel", tmp_path / "p", "--cross-validate", 5, "--out", tmp_path / "o"),
            2,
            "is for a table",
        ),
        (("diagnose", table, "--panel", panel, "--events"), 2, "--events and --picture are for images"),
        (("diagnose", tmp_path / "gone.csv", "--panel", panel), 1, "cannot be read: No such file"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == code, result.output
        assert problem in " ".join(result.output.split())
    assert not new.exists()
