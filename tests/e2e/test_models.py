"""Vision-language agents of a settings file, from the command line: fit, diagnose, show, prompts, replies."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consilience import load_settings
from tests.support.commands import Invoke, Run
from tests.support.scripted_server import ScriptedServer
from tests.support.shape_model import sees
from tests.support.vlm_cases import texts

SECRET = "sk-very-secret-1234567890"  # noqa: S105
COST = 0.002
EACH, LABELS = 14, ("circle", "square", "stripes")


@pytest.fixture
def file(server: ScriptedServer, tmp_path: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file with two agents; the key of one is in the environment."""
    server.by_request = sees
    monkeypatch.setenv("A_KEY", SECRET)
    usual = {"kind": "endpoint", "model": "tiny", "base_url": server.url, "max_retries": 0, "second_look": False}
    prices = {"price_per_million_input_tokens": 10, "price_per_million_output_tokens": 100}
    settings = {
        "agents": ["neighbours"],
        "models": [
            {"name": "qwen", "key_variable": "A_KEY", **usual, **prices},
            {"name": "own", "max_tokens": 50, **usual},
        ],
        "replies": {"path": str(tmp_path / "replies.sqlite")},
    }
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def joined(text: str) -> str:
    """Text that a terminal's width may have broken, on one line."""
    return " ".join(text.split())


def changed(file: Path, **entries: Any) -> Path:
    """The same settings with other entries for the first agent."""
    settings = yaml.safe_load(file.read_text())
    settings["models"][0] |= entries
    path = file.with_name("changed.yaml")
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
def test_the_whole_way(
    run: Run, server: ScriptedServer, file: Path, shapes: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    panel = tmp_path / "panel"
    fitted = run("fit", shapes, "--panel", panel, "--settings", file)
    assert fitted.returncode == 0
    assert re.fullmatch(r"qwen: about 42 calls, [\d,]+ tokens, 0\.\d\d USD, 9 s\.\n", fitted.stderr)
    assert f"42 images, 3 labels, encoder efficientnet-lite0; the models' answers cost {42 * COST:.4f} USD" in joined(
        fitted.stdout
    )
    assert len(server.requests) == 2 * 42
    again = run("fit", shapes, "--panel", panel, "--settings", file, "--overwrite", "--json")
    assert (again.returncode, json.loads(again.stdout)["cost_usd"]) == (0, 0.0)
    assert len(server.requests) == 2 * 42
    in_detail = run(
        "diagnose", new_images["circle"], "--panel", panel, "--set", f"replies.path={tmp_path / 'r.sqlite'}"
    )
    assert (in_detail.returncode, in_detail.stderr) == (0, "")
    assert "110 tokens, 0.0020 USD" in joined(in_detail.stdout)
    assert "qwen: by its colour[31m" in in_detail.stdout
    assert " s, 0.0020 USD\nSaved as " in in_detail.stdout
    known = ("--settings", file, "--set", "policy.max_novelty=1")  # so that labels are headlines
    lines = run("diagnose", *new_images.values(), "--panel", panel, *known)
    assert [line.split()[2] for line in lines.stdout.splitlines()] == list(new_images)
    assert f", {3 * COST:.4f} USD. Look them up: consilience history --panel {panel}\n" in lines.stderr
    data = run("diagnose", *new_images.values(), "--panel", panel, "--settings", file, "--json")
    for line in map(json.loads, data.stdout.splitlines()):
        answers = {prediction["agent"]: prediction for prediction in line["predictions"]}
        assert answers["qwen"]["cached"] is answers["own"]["cached"] is True
        assert (answers["qwen"]["tokens"], answers["qwen"]["prompt"]) == (110, "look 1, repair 1")
    shown = run("show", panel).stdout
    assert f"Agent qwen tiny at {server.url}" in joined(shown)
    assert "confidence verbalised" in joined(shown)
    assert {model["agent"] for model in json.loads(run("show", panel, "--json").stdout)["models"]} == {"qwen", "own"}
    assert {header.get("Authorization") for header in server.headers} == {f"Bearer {SECRET}", "Bearer no key is needed"}
    outputs = [out.stdout + out.stderr for out in (fitted, again, in_detail, lines, data)]
    debugged = run("--debug", "diagnose", new_images["circle"], "--panel", panel, "--set", "replies.keep=false")
    assert debugged.returncode == 0
    assert SECRET not in "".join([*outputs, shown, debugged.stdout, debugged.stderr])
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_budget_ends_a_command_in_one_line_and_more_money_goes_on(
    invoke: Invoke, server: ScriptedServer, file: Path, shapes: Path, tmp_path: Path
) -> None:
    fit = ("fit", shapes, "--panel", tmp_path / "panel", "--settings", file)
    stopped = invoke(*fit, "--set", f"policy.max_run_cost_usd={10 * COST}")
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    _, line = stopped.stderr.splitlines()
    assert line.startswith("error: the budget of this run is spent: 0.0200 of 0.02 USD (policy.max_run_cost_usd)")
    assert not (tmp_path / "panel").exists()
    paid = len([header for header in server.headers if header["Authorization"] == f"Bearer {SECRET}"])
    assert paid == 10
    assert invoke(*fit, "--set", f"policy.max_run_cost_usd={32 * COST}").exit_code == 0
    assert len([header for header in server.headers if header["Authorization"] == f"Bearer {SECRET}"]) == 42


@pytest.mark.slow
def test_wrong_settings_of_an_agent_are_one_line(
    invoke: Invoke, server: ScriptedServer, file: Path, shapes: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    panel = tmp_path / "panel"
    assert invoke("fit", shapes, "--panel", panel, "--settings", file).exit_code == 0
    diagnose = ("diagnose", new_images["circle"], "--panel", panel, "--settings")
    for entries, words in (
        ({"base_url": f"http://me:{SECRET}@host/v1"}, "'models.0.base_url': must not hold a user, a password"),
        ({"modle": "tiny"}, "'models.0.modle', which is no setting (the nearest is model)"),
        ({"model": "other"}, "'qwen' differ from those that the panel was fitted with in model"),
        ({"name": "gemma"}, "the panel has no trust in gemma: fit it with these agents first"),
    ):
        refused = invoke(*diagnose, changed(file, **entries))
        assert (refused.exit_code, refused.stdout) == (1, "")
        (line,) = refused.stderr.splitlines()
        assert line.startswith("error: ")
        assert words in line
        assert SECRET not in line
    assert "must be a list of mappings" in invoke("show", panel, "--set", "models=[]").stderr
    del os.environ["A_KEY"]
    without = invoke(*diagnose, file)
    assert without.exit_code == 4
    assert (
        "qwen: failed: the environment variable A_KEY, which is to hold the key, is not set; set it" in without.stdout
    )


@pytest.mark.slow
def test_kept_answers_are_shown_and_forgotten(
    invoke: Invoke, server: ScriptedServer, file: Path, shapes: Path, tmp_path: Path
) -> None:
    replies = ("replies", "--settings", file)
    nothing = invoke(*replies)
    assert (nothing.exit_code, nothing.stderr) == (0, "")
    assert nothing.stdout == f"'{tmp_path / 'replies.sqlite'}': 0 answers, 0.0 MB of 256 MB at most\n"
    assert not (tmp_path / "replies.sqlite").exists()
    assert invoke("fit", shapes, "--panel", tmp_path / "panel", "--settings", file).exit_code == 0
    row = invoke(*replies).stdout.splitlines()[2]
    assert row.split() == ["tiny", "look", "1,", "repair", "1", "first", "84"]
    held = json.loads(invoke(*replies, "--json").stdout)
    assert (held["answers"], held["path"]) == (84, str(tmp_path / "replies.sqlite"))
    assert held["models"] == [{"model": "tiny", "prompt": "look 1, repair 1", "stage": "first", "answers": 84}]
    assert 0 < held["bytes"] < held["max_bytes"] == 256 * 2**20
    refused = invoke(*replies, "--clear", stdin="n\n")
    assert refused.exit_code == 1
    assert "Delete 84 answers" in refused.stderr
    assert json.loads(invoke(*replies, "--json").stdout)["answers"] == 84
    assert invoke(*replies, "--clear", stdin="y\n").stdout.endswith("84 answers deleted\n")
    assert invoke(*replies, "--clear", "--yes").stdout == "0 answers deleted\n"
    assert invoke(*replies, "--yes").exit_code == 2
    (tmp_path / "replies.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    damaged = invoke(*replies)
    assert (damaged.exit_code, damaged.stdout) == (1, "")
    assert damaged.stderr.startswith("error: the reply cache")


def test_answers_are_kept_in_the_cache_folder_if_nothing_else_is_said(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIENCE_CACHE", str(tmp_path / "cache"))
    assert json.loads(invoke("replies", "--json").stdout)["path"] == str(tmp_path / "cache" / "replies.sqlite")


def test_the_settings_file_in_the_docs_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (tmp_path / "models.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    settings = load_settings(tmp_path / "models.yaml")
    assert [model.name for model in settings.models] == ["qwen", "gpt"]
    assert settings.policy.max_run_cost_usd == 5


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    task = {
        "domain": "drawn shape",
        "labels": [{"name": name} for name in LABELS],
        "prompts": {"look": {"version": "mine", "texts": {"system": "Look\x1b[31m closely."}}},
    }
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(task))
    return path


def test_prompts_are_listed(invoke: Invoke, task_file: Path) -> None:
    listed = invoke("prompts")
    assert (listed.exit_code, listed.stderr) == (0, "")
    rows = {line.split()[0]: line for line in listed.stdout.splitlines() if line and line[0].isalpha()}
    assert rows.keys() >= {"look", "second-look", "repair", "zero-shot"}
    assert "domain, label, description, labels, unsure, form" in rows["look"]
    assert "*" not in listed.stdout
    of_a_task = invoke("prompts", "--task", task_file).stdout
    assert "mine" in of_a_task
    assert "system*, label, described-label" in of_a_task
    (look,) = (prompt for prompt in json.loads(invoke("prompts", "--json").stdout) if prompt["name"] == "look")
    assert (look["version"], look["texts"]["label"]["template"]) == (1, "- {label}")


def test_a_prompt_is_rendered_with_the_labels_of_a_task_or_a_panel(
    invoke: Invoke, fitted: Path, task_file: Path
) -> None:
    shown = invoke("prompts", "look", "--task", task_file).stdout
    assert "look mine: system, of the task\nLook[31m closely.\n" in shown
    assert 'look mine: question\nDomain: "drawn shape"\n' in shown
    assert '- "circle"\n- "square"\n- "stripes"\n' in shown
    of_a_panel = json.loads(invoke("prompts", "look", "--panel", fitted, "--json").stdout)
    assert '- "circle"\n- "square"\n- "stripes"' in of_a_panel["texts"]["question"]["rendered"]
    assert (of_a_panel["version"], of_a_panel["texts"]["system"]["of_the_task"]) == (1, False)


def test_wrong_prompts_are_one_line(invoke: Invoke, fitted: Path, task_file: Path, tmp_path: Path) -> None:
    task = yaml.safe_load(task_file.read_text())
    task["prompts"]["look"]["texts"] = {"question": "What is {this}?"}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(task))
    for arguments, code, words in (
        (["loook"], 1, "there is no prompt 'loook'; there are: caption, follow-up, look, "),
        (["--task", tmp_path / "wrong.yaml"], 1, "the text 'question' inserts 'this', which is no variable"),
        (["repair", "--task", tmp_path / "wrong.yaml"], 1, "the text 'question' inserts 'this'"),
        (["--panel", tmp_path / "nothing"], 1, "there is no panel"),
        (["--panel", fitted, "--task", task_file], 2, "Give --task or --panel, not both"),
    ):
        refused = invoke("prompts", *arguments)
        assert (refused.exit_code, refused.stdout) == (code, "")
        assert words in refused.stderr
        assert code == 2 or refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_words_of_the_task_reach_the_model(
    invoke: Invoke, server: ScriptedServer, file: Path, shapes: Path, task_file: Path, tmp_path: Path
) -> None:
    panel = tmp_path / "panel"
    assert invoke("fit", shapes, "--panel", panel, "--settings", file, "--task", task_file).exit_code == 0
    assert {texts(request)[0] for request in server.requests} == {"Look\x1b[31m closely."}
    models = json.loads(invoke("replies", "--settings", file, "--json").stdout)["models"]
    assert {model["prompt"] for model in models} == {"look mine, repair 1"}


def test_what_a_fit_will_cost_is_asked_on_a_terminal_first(
    invoke: Invoke, server: ScriptedServer, file: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = ("fit", shapes, "--panel", tmp_path / "panel", "--settings", file)
    limit = ("--set", "policy.confirm_above_usd=0.1")
    monkeypatch.setattr("consilience.frontends.cli.terminal.is_interactive", lambda: True)
    refused = invoke(*fit, *limit, stdin="n\n")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("qwen: about 42 calls, ")  # the other one is free
    assert "Ask the models? [y/N]" in refused.stderr
    assert not server.requests
    assert not (tmp_path / "panel").exists()
    budget = ("--set", f"policy.max_run_cost_usd={10 * COST}")
    assert "policy.max_run_cost_usd is 0.02: it would stop after about" in invoke(*fit, *budget, stdin="n\n").stderr
    assert not server.requests


def test_what_other_commands_will_cost_is_asked_on_a_terminal_first(
    invoke: Invoke,
    server: ScriptedServer,
    file: Path,
    shapes: Path,
    new_images: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel, test = tmp_path / "panel", tmp_path / "test"
    assert invoke("fit", shapes, "--panel", panel, "--settings", file).exit_code == 0
    server.requests.clear()
    for label, path in new_images.items():
        (test / label).mkdir(parents=True)
        path.rename(test / label / path.name)
    monkeypatch.setattr("consilience.frontends.cli.terminal.is_interactive", lambda: True)
    more = ("--panel", panel, "--settings", file, "--set", "policy.confirm_above_usd=0.001")
    for command, calls in (
        (("diagnose", test), 3),
        (("diagnose", *sorted(test.rglob("*.png")), "--set", "decision.frequencies=estimate"), 3),
        (("evaluate", test, "--out", tmp_path / "evaluation"), 3),
        (("evaluate", test, "--out", tmp_path / "novel", "--novel", test), 6),
        (("stress", test, "--out", tmp_path / "stress"), 41 * 3),
    ):
        refused = invoke(*command, *more, stdin="n\n")
        assert refused.exit_code == 1
        assert f"qwen: about {calls} calls, " in refused.stderr  # the other one is free
        assert "Ask the models? [y/N]" in refused.stderr
        assert not server.requests
    assert invoke("evaluate", test, "--out", tmp_path / "evaluation", *more, stdin="y\n").exit_code == 0
    assert len(server.requests) == 2 * 3
    again = invoke("evaluate", test, "--out", tmp_path / "evaluation", *more)  # all is decided
    assert (again.exit_code, "calls" in again.stderr) == (0, False)
    kept = invoke("diagnose", test, *more)
    assert (kept.exit_code, "calls" in kept.stderr) == (0, False)
    alone = invoke("diagnose", next(test.rglob("*.png")), *more, "--set", "replies.keep=false")
    assert (alone.exit_code, alone.stderr) == (0, "")  # one image has a bound of its own: policy.max_cost_usd


@pytest.mark.slow
def test_what_a_fit_will_cost_is_only_said_where_nobody_can_be_asked(
    invoke: Invoke, server: ScriptedServer, file: Path, shapes: Path, tmp_path: Path
) -> None:
    fit = ("fit", shapes, "--panel", tmp_path / "panel", "--settings", file)
    limit = ("--set", "policy.confirm_above_usd=0.1")
    asked = invoke(*fit, *limit)
    assert asked.exit_code == 0
    assert "Ask the models?" not in asked.stderr
    again = invoke(*fit, *limit, "--overwrite")
    assert (again.exit_code, again.stderr) == (0, "")  # every answer is kept
