"""A model that is down is counted and named in the summary, the report and the exit code; the panel goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.commands import Invoke
from tests.support.scripted_server import Scripted, ScriptedServer
from tests.support.shape_model import sees
from tests.support.shapes import LABELS

GONE = Scripted({"error": {"message": "no worker is free"}}, 503)


@pytest.fixture
def few(shapes: Path, tmp_path: Path) -> Path:
    """Some of the shapes: six of each label."""
    folder = tmp_path / "few"
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for image in sorted((shapes / label).iterdir())[:6]:
            shutil.copy(image, folder / label)
    return folder


@pytest.fixture
def file(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file with one model, which takes second looks; nothing that it answers is kept."""
    server.by_request = sees
    monkeypatch.setenv("A_KEY", "sk-very-secret-1234567890")
    model = {"kind": "endpoint", "name": "qwen", "model": "tiny", "base_url": server.url, "max_retries": 0}
    settings = {
        "agents": ["neighbours"],
        "models": [model | {"second_look": False, "key_variable": "A_KEY"}],
        "replies": {"keep": False, "path": str(tmp_path / "replies.sqlite")},
    }
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
def test_a_model_that_is_down(
    invoke: Invoke, server: ScriptedServer, file: Path, few: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    panel = tmp_path / "panel"
    assert invoke("fit", few, "--panel", panel, "--settings", file).exit_code == 0
    server.by_request, server.replies = None, [GONE]
    known = ("--panel", panel, "--settings", file)
    down = f"warning: 'qwen' did not answer about 3 of 3 images. The cause: {server.url}: status 503: no worker is free"
    batch = invoke("diagnose", *new_images.values(), *known)
    assert batch.exit_code == 4
    assert down in batch.stderr.splitlines()
    alone = invoke("diagnose", new_images["circle"], *known, "--json")
    assert alone.exit_code == 4
    assert "'qwen' did not answer about 1 of 1 images" in alone.stderr
    assert json.loads(alone.stdout)["label"] in LABELS
    out = tmp_path / "evaluation"
    judged = invoke("evaluate", few, *known, "--out", out, "--sample", 3)
    assert judged.exit_code == 4
    assert down in judged.stderr.splitlines()
    (row,) = [line.split() for line in judged.stdout.splitlines() if line.split()[:1] == ["qwen"]]
    assert row == ["qwen", "0", *["–"] * 8]
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    (figures,) = [figures for figures in metrics["agents"] if figures["agent"] == "qwen"]
    assert {figures[name] for name in ("ece", "ece_adaptive", "ocr", "ccc", "brier", "accuracy")} == {None}
    assert (figures["errors"], figures["raw"]["ece"]) == (3, None)
    assert "no worker is free" in str(figures["cause"])
    assert "did not answer about 3 of 3 images" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_why_an_agent_gave_no_second_looks(
    invoke: Invoke, server: ScriptedServer, file: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First looks were kept from an earlier fit; the key for the second looks is missing."""
    settings = yaml.safe_load(file.read_text())
    settings["replies"]["keep"] = True
    file.write_text(yaml.safe_dump(settings))
    panel = tmp_path / "panel"
    assert invoke("fit", few, "--panel", panel, "--settings", file).exit_code == 0
    monkeypatch.delenv("A_KEY")
    settings["models"][0]["second_look"] = True
    file.write_text(yaml.safe_dump(settings))
    again = invoke("fit", few, "--panel", panel, "--settings", file, "--overwrite")
    assert again.exit_code == 4
    assert (
        "warning: 'qwen, second look' did not answer about 18 of 18 images. The cause: the environment variable A_KEY, "
        "which is to hold the key, is not set; set it"
    ) in again.stderr.splitlines()


def test_an_agent_that_failed_on_a_few_labelled_images_is_named(
    invoke: Invoke, server: ScriptedServer, file: Path, few: Path, tmp_path: Path
) -> None:
    server.by_request = lambda request: GONE if len(server.requests) in (3, 5) else sees(request)
    fitted = invoke("fit", few, "--panel", tmp_path / "panel", "--settings", file)
    assert fitted.exit_code == 4
    assert "warning: 'qwen' did not answer about 2 of 18 images. The cause: " in fitted.stderr
