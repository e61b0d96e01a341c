"""What the commands show of a panel that somebody else made, and how its models are confirmed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from consilience.core.settings.model_settings import ReasonerSettings
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.panel.panel import Panel
from tests.support.commands import Invoke

ADDRESS = "http://127.0.0.1:9/v1"


@pytest.fixture
def hostile(panel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A panel whose own fields hold escape sequences, and whose reasoner wants a key of whoever opens it."""
    monkeypatch.setenv("CONSILIENCE_CONFIG", str(tmp_path / "config"))
    opened = Panel.open(panel)
    reasoner = ReasonerSettings(model="m\x1b[2J", base_url=ADDRESS, key_variable="GITHUB_TOKEN", role="explain")
    domain = opened.task.model_copy(update={"domain": "shapes\x1b]0;owned\x07"})
    replace(opened, reasoner=reasoner, task=domain).save(panel, overwrite=True)
    manifest = json.loads((panel / "panel.json").read_text())
    manifest["written_by"] = "\x1b[31mnobody\x9b2J"
    (panel / "panel.json").write_text(json.dumps(manifest))
    return panel


def test_show_lists_what_would_be_asked_and_obeys_nothing(hostile: Path, invoke: Invoke) -> None:
    shown = invoke("show", hostile)
    assert shown.exit_code == 0
    assert f"at {ADDRESS}, key in GITHUB_TOKEN, role explain; not confirmed" in " ".join(shown.stdout.split())
    assert not any(sign in shown.stdout for sign in "\x1b\x9b\x07")
    held = json.loads(invoke("show", hostile, "--json").stdout)
    assert held["reasoner"] == {"role": "explain", "model": "m\x1b[2J", "at": ADDRESS, "key_variable": "GITHUB_TOKEN"}
    assert held["unconfirmed"] == ["reasoner"]


def test_it_is_confirmed_once(hostile: Path, invoke: Invoke, new_images: dict[str, Path]) -> None:
    refused = invoke("diagnose", new_images["circle"], "--panel", hostile)
    assert refused.exit_code == 1
    assert f"'reasoner' at {ADDRESS} with the key in GITHUB_TOKEN" in refused.stderr
    assert f"consilience confirm {hostile}" in refused.stderr
    asked = invoke("confirm", hostile)
    assert (asked.exit_code, "--yes" in asked.stderr, ADDRESS in asked.stderr) == (1, True, True)
    assert invoke("confirm", hostile, "--yes").exit_code == 0
    assert invoke("diagnose", new_images["circle"], "--panel", hostile, "--set", "replies.keep=false").exit_code == 0
    assert "Nothing is to be confirmed." in invoke("confirm", hostile).stdout
    assert json.loads(invoke("show", hostile, "--json").stdout)["unconfirmed"] == []


def test_a_terminal_is_asked(
    hostile: Path, invoke: Invoke, new_images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consilience.frontends.cli.terminal.is_interactive", lambda: True)
    command = ("diagnose", new_images["circle"], "--panel", hostile, "--set", "replies.keep=false")
    assert invoke(*command, stdin="n\n").exit_code == 1
    answered = invoke(*command, stdin="y\n")
    assert (answered.exit_code, "You are asked once." in answered.stderr) == (0, True)
    assert "asked once" not in invoke(*command).stderr


def test_a_history_on_a_terminal_is_not_obeyed(
    panel: Path, invoke: Invoke, new_images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("diagnose", new_images["circle"], "--panel", panel).exit_code == 0
    with History.open(panel) as history:
        [kept] = history.find()
        history.keep(kept.diagnosis, person="\x1b[2Jeve\u202e")
    assert "\x1b[2Jeve" in invoke("history", "--csv", "--panel", panel).stdout  # a file gets what is there
    monkeypatch.setattr("consilience.frontends.cli.people.history_command.is_terminal", lambda: True)
    shown = invoke("history", "--csv", "--panel", panel).stdout
    assert "[2Jeve" in shown
    assert not any(sign in shown for sign in "\x1b\u202e")
