"""A model tuned by `consilience tune`, asked through transformers and through vLLM.

The tiny Qwen2.5-VL was taught drawn leaves. Here the names of two labels have changed places: the untuned model is
wrong about both, as a model is that knows the pictures but not what they are called here.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from consilience.agents import AgentInput, TransformersAgent, TransformersSettings, VlmAgent, VlmSettings
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from tests.support.qwen import leaves

SWAPPED = {"healthy": "healthy", "leaf rust": "leaf scab", "leaf scab": "leaf rust"}
"""What is drawn, and what it is called."""

EACH, JUDGED = 20, range(5000, 5015)
SCRIPT = Path(sys.executable).with_name("consilience")


def called(folder: Path, numbers: range) -> Path:
    """Drawn leaves in folders of their new names."""
    for drawn, name in SWAPPED.items():
        (folder / name).mkdir(parents=True)
        for number in numbers:
            leaves.draw(drawn, number).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tuned by the command, in minutes on a processor."""
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("tuned")
    task = folder / "task.yaml"
    task.write_text(leaves.TASK.to_yaml(), encoding="utf-8")
    images = called(folder / "images", range(4000, 4000 + EACH))
    how = ["--task", task, "--image-side", leaves.SIDE, "--rate", 1e-3, "--epochs", 12, "--batch-size", 6]
    command = [SCRIPT, "tune", images, "--model", tiny_model, "--out", folder / "swapped", *how]
    subprocess.run([*map(str, command)], check=True, timeout=1800, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder / "swapped"


def inputs() -> tuple[AgentInput, list[str]]:
    """Leaves that nobody was tuned on, and their new names."""
    drawn = [(label, number) for label in SWAPPED for number in JUDGED]
    images = [Image.from_pixels(np.asarray(leaves.draw(*leaf)), f"{leaf}") for leaf in drawn]
    n = len(images)
    none = np.ones((n, 1), np.float32)
    return AgentInput(leaves.TASK, images, none, np.zeros((n, 1), int), none), [SWAPPED[label] for label, _ in drawn]


def accuracy(predictions: list[Prediction], truths: list[str]) -> float:
    assert [prediction.error for prediction in predictions] == [None] * len(truths)
    return float(np.mean([prediction.label == truth for prediction, truth in zip(predictions, truths, strict=True)]))


def through_transformers(model: Path, **more: Any) -> float:
    settings = {
        "name": "tiny",
        "model": str(model),
        "device": "cpu",
        "confidence": "logprob",
        "image_side": leaves.SIDE,
    }
    asked, truths = inputs()
    return accuracy(TransformersAgent(TransformersSettings.model_validate(settings | more)).predict(asked), truths)


def test_the_tuned_agent_is_better_on_held_out_leaves_through_transformers(tiny_model: Path, adapter: Path) -> None:
    before, after = through_transformers(tiny_model), through_transformers(tiny_model, adapter=str(adapter))
    print(f"accuracy through transformers: {before:.3f} untuned, {after:.3f} tuned")
    assert after >= before + 0.1
    assert after >= 0.7


def test_the_tuned_agent_is_better_on_held_out_leaves_through_vllm(
    servers: Path, tiny_model: Path, adapter: Path, free_port: Callable[[], int], tmp_path: Path
) -> None:
    places = ["--executable", servers / "bin" / "vllm", "--port", free_port(), "--log", tmp_path / "log"]
    own = ["--served-model-name", "tiny", "--dtype", "float32", "--kv-cache-memory-bytes", "128M"]
    command = [SCRIPT, "serve-vlm", tiny_model, "--lora", adapter, *places, "--cpu", "--", *own]
    asked, truths = inputs()
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2 + 2 * 5)]
            agents = {agent["name"]: agent for agent in yaml.safe_load("".join(lines))["models"]}
            accuracies = {
                name: accuracy(
                    asyncio.run(VlmAgent(VlmSettings(**settings | {"image_side": leaves.SIDE}), None).predict(asked)),
                    truths,
                )
                for name, settings in agents.items()
            }
        finally:
            process.terminate()
    print(f"accuracy through vLLM: {accuracies['tiny']:.3f} untuned, {accuracies[adapter.name]:.3f} tuned")
    assert accuracies[adapter.name] >= accuracies["tiny"] + 0.1
    assert accuracies[adapter.name] >= 0.7
