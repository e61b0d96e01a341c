"""A task, images, cases and an agent for the tests of vision-language agents."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from consilience.agents import AgentInput, ReplyCache, VlmAgent, VlmSettings
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from consilience.core.task import Label, Task
from tests.support.scripted_server import ScriptedServer

TASK = Task(
    domain="apple leaf",
    labels=(
        Label(name="healthy"),
        Label(name="rust", descriptions=("orange spots",), synonyms=("cedar rust",)),
        Label(name="scab"),
    ),
)


def image(shade: int, size: tuple[int, int] = (40, 60)) -> Image:
    """Return an image of one shade."""
    return Image.from_pixels(np.full((*size, 3), shade, np.uint8), f"leaf-{shade}.jpg")


def inputs(*images: Image | None, task: Task = TASK) -> AgentInput:
    """Return the input of an agent that looks at the images only."""
    n = len(images)
    return AgentInput(task, images, np.ones((n, 1), np.float32), np.zeros((n, 1), int), np.ones((n, 1), np.float32))


def agent(server: ScriptedServer, cache: ReplyCache | None = None, **settings: Any) -> VlmAgent:
    """Return an agent that asks the server."""
    usual = {"name": "qwen", "model": "tiny", "base_url": server.url, "max_retries": 0}
    return VlmAgent(VlmSettings.model_validate(usual | settings), cache)


def look(vlm: VlmAgent, *images: Image | None, task: Task = TASK) -> list[Prediction]:
    """Return the agent's first looks at the images."""
    return asyncio.run(vlm.predict(inputs(*images, task=task)))


def texts(request: dict[str, Any]) -> list[str]:
    """Return all text in a request's messages, in order."""
    words = []
    for message in request["messages"]:
        parts = message["content"]
        words += [parts] if isinstance(parts, str) else [part["text"] for part in parts if part["type"] == "text"]
    return words


def pictures(request: dict[str, Any]) -> list[PIL.Image.Image]:
    """Return all pictures in a request's messages, in order."""
    urls = [
        part["image_url"]["url"]
        for message in request["messages"]
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
    return [PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def evidence(*labels: str) -> Evidence:
    jpegs = {f"case-{i}": image(10 * i).thumbnail() for i in range(len(labels))}
    neighbours = tuple(
        Neighbour(f"case-{i}", label, 0.9 - i / 10, f"C:/leaves/{label}-{i}.jpg", jpegs.get)
        for i, label in enumerate(labels)
    )
    shares = {name: labels.count(name) / len(labels) for name in TASK.names} if labels else {}
    return Evidence(neighbours, shares)


def again(vlm: VlmAgent, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
    """Return the agent's second looks."""
    return asyncio.run(vlm.revise(inputs(*[image(200 + i) for i in range(len(first))]), first, evidence))
