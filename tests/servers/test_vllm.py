"""A real vLLM with a tiny Qwen2.5-VL that reads pixels: from its start to a diagnosis, and its end amid one."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml

import consilience
from consilience import Diagnoser, Diagnosis, Prediction
from consilience.agents import AgentInput, VlmAgent, VlmSettings
from consilience.agents.vlm.conversation import first_messages
from consilience.agents.vlm.label_answer import choices
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import Image
from consilience.core.task import Label
from consilience.prompts import load_prompt
from tests.support.qwen import leaves
from tests.support.qwen.leaves import TASK

MODES, STAGES = ("logprob", "verbalised"), ("first", "second")


def leaf(label: str, number: int, clarity: float | None = None) -> Image:
    return Image.from_pixels(np.asarray(leaves.draw(label, number, clarity)), f"{label}-{number}")


def inputs(images: Sequence[Image], task: consilience.Task = TASK) -> AgentInput:
    n = len(images)
    return AgentInput(task, images, np.ones((n, 1), np.float32), np.zeros((n, 1), int), np.ones((n, 1), np.float32))


def agent(vllm: Any, **settings: Any) -> VlmAgent:
    return VlmAgent(VlmSettings(**vllm.settings(**settings)))


def look(vlm: VlmAgent, *images: Image) -> list[Prediction]:
    return asyncio.run(vlm.predict(inputs(images)))


def cases(*labels: str) -> Evidence:
    """Neighbours of these labels, with pictures."""
    pictures = {str(number): leaf(label, 500 + number).thumbnail() for number, label in enumerate(labels)}
    neighbours = [
        Neighbour(number, label, 0.9, "", pictures.get) for number, label in zip(pictures, labels, strict=True)
    ]
    return Evidence(tuple(neighbours), {name: labels.count(name) / len(labels) for name in TASK.names})


def right(predictions: Sequence[Prediction], labels: Sequence[str]) -> float:
    assert [p.error for p in predictions if p.error] == []
    return float(np.mean([prediction.label == label for prediction, label in zip(predictions, labels, strict=True)]))


LABELS = TASK.names * 10
IMAGES = [leaf(label, number) for number, label in enumerate(LABELS)]


@pytest.mark.parametrize("mode", MODES)
def test_answers_depend_on_the_pixels(vllm: Any, mode: str) -> None:
    predictions = look(agent(vllm, confidence=mode), *IMAGES)
    assert right(predictions, LABELS) >= 0.9
    assert {p.prompt for p in predictions} == {"look 1, repair 1"}
    assert all(p.tokens > 150 and p.seconds > 0 for p in predictions)
    if mode == "verbalised":
        raw = predictions[0].raw or ""
        assert list(json.loads(raw)) == ["rationale", "label", "confidence"]
        assert {p.confidence for p in predictions} <= {0.6, 0.95}


def test_sampled_answers_come_from_one_request(vllm: Any) -> None:
    predictions = look(agent(vllm, confidence="sampled", samples=5), *IMAGES[:6])
    assert right(predictions, LABELS[:6]) >= 0.8
    assert all((p.raw or "").count("\n") == 4 for p in predictions)


def test_a_picture_too_dark_to_tell_is_an_abstention(vllm: Any) -> None:
    dark = [leaf(label, 40, 0.0) for label in TASK.names]
    assert [p.abstained for p in look(agent(vllm), *dark)] == [True] * 3


def test_probabilities_are_those_of_transformers(vllm: Any, tiny_model: Path) -> None:
    from tests.support.qwen.exact import Exact

    exact = Exact(tiny_model)
    apart = TASK.model_copy(update={"labels": tuple(Label(name=name) for name in ("healthy", "rust", "scab"))})
    for task, tolerance in ((apart, 1e-4), (TASK, 1e-2)):  # what two labels begin with is at times divided evenly
        predictions = asyncio.run(agent(vllm).predict(inputs(IMAGES[:3], task)))
        for image, prediction in zip(IMAGES, predictions, strict=False):
            messages = first_messages(load_prompt("look", task), task, image, 112, True)
            shares = exact.shares(messages, choices(task))
            unsure = shares.pop("unsure") / 3
            assert sum(shares.values()) + 3 * unsure == pytest.approx(1, abs=1e-4)
            expected = {name: share + unsure for name, share in shares.items()}
            assert prediction.probabilities == pytest.approx(expected, abs=tolerance)
            assert (prediction.probabilities or {})["healthy"] == pytest.approx(expected["healthy"], abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_look_reads_the_cases_and_may_change_the_answer(vllm: Any, mode: str) -> None:
    labels, images = LABELS[:12], IMAGES[:12]
    wrong = [TASK.names[(TASK.names.index(label) + 1) % 3] for label in labels]
    first = [Prediction("tiny", probabilities={name: float(name == label) for name in TASK.names}) for label in wrong]
    evidence = [cases(label, label, label, label) for label in labels]
    tiny = agent(vllm, confidence=mode)
    seen = asyncio.run(tiny.revise(inputs(images), first, evidence))
    assert right(seen, labels) >= 0.8
    assert {p.stage for p in seen} == {"second"}
    assert min(p.tokens for p in seen) > max(p.tokens for p in look(tiny, *images)) + 4 * 4


@pytest.mark.parametrize("mode", MODES)
def test_of_a_leaf_too_dark_to_tell_the_cases_decide(vllm: Any, mode: str) -> None:
    labels = TASK.names * 3
    dark = [leaf(TASK.names[0], 60 + number, 0.0) for number in range(len(labels))]
    first = [Prediction("tiny", probabilities=dict.fromkeys(TASK.names, 1 / 3), rationale="too dark") for _ in labels]
    seen = asyncio.run(
        agent(vllm, confidence=mode).revise(inputs(dark), first, [cases(*[label] * 3) for label in labels])
    )
    assert right(seen, labels) >= 0.9


def test_more_pictures_than_the_server_takes_are_shown_on_a_sheet(vllm: Any) -> None:
    """The server says how many it takes, once; the cases then come as one numbered picture."""
    tiny = agent(vllm, neighbours_shown=5)
    first = [Prediction("tiny", probabilities=dict.fromkeys(TASK.names, 1 / 3))]
    (seen,) = asyncio.run(tiny.revise(inputs(IMAGES[:1]), first, [cases(*["healthy"] * 5)]))
    assert (seen.error, seen.stage) == (None, "second")


def test_what_was_read_before_is_not_read_again(vllm: Any) -> None:
    tiny = agent(vllm)
    before = look(tiny, IMAGES[0])[0].probabilities
    hits = _metric(vllm, "vllm:prefix_cache_hits_total")
    assert look(tiny, IMAGES[0])[0].probabilities == pytest.approx(before, abs=1e-4)
    assert _metric(vllm, "vllm:prefix_cache_hits_total") > hits


def _metric(vllm: Any, name: str) -> float:
    place = urlsplit(vllm.printed["base_url"])
    connection = http.client.HTTPConnection(str(place.hostname), place.port)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


def test_a_model_that_the_server_does_not_have(vllm: Any) -> None:
    (prediction,) = look(agent(vllm, model="large"), IMAGES[0])
    assert "status 404" in (prediction.error or "")
    assert "check 'base_url' and 'model'" in (prediction.error or "")


@pytest.fixture(scope="module")
def settings_file(vllm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two agents on the one server, beside two that read features; everybody is asked again."""
    folder = tmp_path_factory.mktemp("settings")
    settings = {
        "agents": ["neighbours", "gaussian"],
        "models": [vllm.settings(name=mode, confidence=mode) for mode in MODES],
        "policy": {"second_look": "always", "max_novelty": 0.0},
        "replies": {"path": str(folder / "replies.sqlite")},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return folder / "settings.yaml"


@pytest.fixture(scope="module")
def panel(settings_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted by the command, on 30 leaves."""
    folder = tmp_path_factory.mktemp("fitted")
    images = leaves.save(folder / "leaves", range(100, 110))
    (folder / "task.yaml").write_text(TASK.to_yaml())
    each_a_leaf_of_its_own = ("--group", "{group}.png")  # drawn ones look so alike that some pass for copies
    arguments = ("fit", images, "--panel", folder / "panel", "--task", folder / "task.yaml", *each_a_leaf_of_its_own)
    printed = command(*arguments, settings=settings_file)
    assert "30 images, 3 labels" in printed
    return folder / "panel"


def command(*arguments: object, settings: Path) -> str:
    script = Path(sys.executable).with_name("consilience")
    words = [str(word) for word in (script, *arguments, "--settings", settings)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_the_whole_way(panel: Path, settings_file: Path, tmp_path: Path) -> None:
    images = sorted(leaves.save(tmp_path / "new", range(2)).rglob("*.png"))
    printed = command("diagnose", *images, "--panel", panel, "--json", settings=settings_file)
    diagnoses = [json.loads(line) for line in printed.splitlines()]
    assert (
        np.mean([diagnosis["label"] == path.parent.name for diagnosis, path in zip(diagnoses, images, strict=True)])
        >= 0.8
    )
    predictions = [prediction for diagnosis in diagnoses for prediction in diagnosis["predictions"]]
    assert {(p["agent"], p["stage"]) for p in predictions if p["agent"] in MODES} == {*product(MODES, STAGES)}
    assert [p["error"] for p in predictions if p["error"]] == []


def test_an_evaluation_asks_for_both_looks(panel: Path, settings_file: Path, tmp_path: Path) -> None:
    """On 12 leaves that the panel does not hold."""
    images = leaves.save(tmp_path / "unseen", range(20, 24))
    command("evaluate", images, "--panel", panel, "--out", tmp_path / "out", settings=settings_file)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    looks = {
        (figures["agent"], figures["stage"]): figures for figures in metrics["agents"] if figures["agent"] in MODES
    }
    assert (metrics["n"], metrics["errors"], metrics["leaks"]) == (12, 0, 0)
    assert looks.keys() == {*product(MODES, STAGES)}
    again = metrics["second_looks"]["images"]  # all but those more familiar than any known leaf: these are settled
    assert again >= 8
    for (_, stage), figures in looks.items():
        assert (figures["n"], figures["abstained"], figures["errors"]) == (12 if stage == "first" else again, 0, 0)
    assert all(figures["accuracy"] >= 0.8 for figures in [*looks.values(), metrics["fusion"]])


def test_the_trust_in_each_look_is_kept_apart(panel: Path) -> None:
    with Diagnoser.open(panel, policy__second_look="never") as diagnoser:
        trust = {(member.agent, member.stage): member.trust for member in diagnoser.panel.members}
    for mode in MODES:
        assert trust[mode, "first"].n == 30
        assert trust[mode, "second"].n == 30
        assert (trust[mode, "first"].accuracy or 0.0) >= 0.9


@pytest.mark.ends_the_server
def test_a_server_that_dies_in_the_middle_is_a_failed_agent(vllm: Any, panel: Path) -> None:
    with Diagnoser.open(panel, batch_size=1, policy__second_look="never", replies__keep=False) as diagnoser:
        results = diagnoser.diagnose_many(IMAGES[:6])
        before = next(results)
        vllm.process.terminate()
        assert vllm.process.wait() == 143
        *_, after = results  # of the images between, some were asked about before
    assert isinstance(before, Diagnosis)
    assert [p.error for p in before.predictions] == [None] * 4
    assert isinstance(after, Diagnosis)
    errors = {p.agent: p.error for p in after.predictions}
    assert errors["neighbours"] is None
    assert all("check that the server runs" in str(errors[mode]) for mode in MODES)
    assert after.label == LABELS[5]
