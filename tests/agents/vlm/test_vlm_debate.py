"""Who is told what others said: an agent that debates, at its second look, in fit and in a diagnosis alike."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest

from consilience.agents import Agent, VlmAgent, VlmSettings
from consilience.core.settings.settings import PolicySettings
from consilience.core.task import Task
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, fit_agents
from consilience.orchestrator.graph import Run, bounded, build_graph, first_state
from consilience.orchestrator.panel.panel import labelled_features
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages
from tests.support.scripted_server import Scripted, ScriptedServer, chat, says
from tests.support.vlm_cases import image, pictures, texts

TASK = Task.from_labels(["rust", "scab"])
SAYS = {"tiny-qwen": ("rust", 0.9, "orange spots"), "tiny-gpt": ("scab", 0.6, "olive velvet")}


def labelled_images() -> LabelledImages:
    n = 16
    noise = 0.3 * np.random.default_rng(0).standard_normal((n, 8))
    vectors = np.eye(2, 8)[np.arange(n) % 2] + noise
    names = tuple(f"image-{row}" for row in range(n))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return LabelledImages(names, tuple(TASK.names[row % 2] for row in range(n)), names, unit)


@pytest.fixture
def talkative(server: ScriptedServer) -> ScriptedServer:
    def answer(request: dict[str, Any]) -> Scripted:
        return chat(says(*SAYS[request["model"]]))

    server.by_request = answer
    return server


def agents(server: ScriptedServer, debate: bool) -> list[VlmAgent]:
    return [
        VlmAgent(VlmSettings(name=name, model=f"tiny-{name}", base_url=server.url, debate=debate and name == "qwen"))
        for name in ("qwen", "gpt")
    ]


def fitted(server: ScriptedServer, debate: bool) -> FittedEnsemble:
    known = labelled_images()
    data = labelled_features(known, TASK)
    kinds = ["neighbours", "gaussian"]
    load = lambda name: image(int(name.removeprefix("image-")))  # noqa: E731
    context = FitContext(TASK, known, data, neighbours=3, seed=0, others=agents(server, debate), load=load)
    return fit_agents(context, kinds)


def diagnosed(server: ScriptedServer, debate: bool, learned: FittedEnsemble) -> list[dict[str, Any]]:
    """Return the conclusions of a run on one image at which every agent looks again."""
    known = labelled_images()
    settings = PolicySettings(second_look="always")
    weigher = Weigher(TASK, learned.members, learned.fusion, Policy.chosen(settings, learned.calibration_set))
    everyone: list[Agent] = [*learned.heads, *agents(server, debate)]
    memory = ImageMemory(known, TASK.names, ExactIndex(known))
    run = Run({agent.name: agent for agent in everyone}, memory, [image(200)], known.vectors[:1], math.inf)
    graph = build_graph(weigher=weigher, policy=settings, neighbours=3).compile()
    final = asyncio.run(graph.ainvoke(first_state(["a"], ["a"]), bounded(settings), context=run))
    conclusions: list[dict[str, Any]] = final["conclusions"]
    return conclusions


def second_looks(requests: list[dict[str, Any]], model: str) -> list[str]:
    """Return the texts of the last message of each of the model's requests that is a second look."""
    mine = [request for request in requests if request["model"] == model]
    return ["\n".join(texts(request)) for request in mine if len(request["messages"]) > 2]


def speakers(text: str) -> list[str]:
    """Who said what, without the figures."""
    return [line.split(", with a confidence of ")[0] for line in text.splitlines() if " says " in line]


def test_in_a_debate_fit_and_diagnosis_tell_the_same_kind_of_thing(talkative: ScriptedServer) -> None:
    learned = fitted(talkative, debate=True)
    at_fit = second_looks(talkative.requests, "tiny-qwen")
    talkative.requests.clear()
    (conclusion,) = diagnosed(talkative, True, learned)
    (at_diagnosis,) = second_looks(talkative.requests, "tiny-qwen")
    assert len(at_fit) == 16
    for message in (*at_fit, at_diagnosis):
        assert [line.split(" says ")[0] for line in speakers(message)] == ['- "neighbours"', '- "gaussian"', '- "gpt"']
        assert '- "gpt" says "scab", with a confidence of 0.60. Its reason: "olive velvet"' in message.splitlines()
    firsts = {
        prediction["agent"]: prediction for prediction in conclusion["predictions"] if prediction["stage"] == "first"
    }
    for name in ("neighbours", "gaussian"):
        message = f'- "{name}" says "{firsts[name]["label"]}", with a confidence of {firsts[name]["confidence"]:.2f}.'
        assert message in at_diagnosis.splitlines()


def test_the_heads_are_heard_out_of_fold(talkative: ScriptedServer) -> None:
    """What is told in fit is what the heads say of an image that they were not fitted on."""
    labels = labelled_images().labels
    learned = fitted(talkative, debate=True)
    right = []
    for request in talkative.requests:
        if request["model"] == "tiny-qwen" and len(request["messages"]) > 2:
            (reply,) = (line for line in speakers("\n".join(texts(request))) if line.startswith('- "neighbours"'))
            # `fitted` draws each image in a shade of its own
            row = round(float(np.asarray(pictures(request)[0]).mean()))
            right.append(reply.split('says "')[1].startswith(labels[row]))
    assert len(right) == len(labels)
    (trust,) = (member.trust for member in learned.members if member.agent == "neighbours")
    assert np.mean(right) == pytest.approx(trust.accuracy)


@pytest.mark.parametrize("debate", [False, True])
def test_who_does_not_debate_hears_nothing_of_the_others(talkative: ScriptedServer, debate: bool) -> None:
    diagnosed(talkative, debate, fitted(talkative, debate))
    theirs = {"tiny-gpt": ["qwen", "orange"]} | ({} if debate else {"tiny-qwen": ["gpt", "olive"]})
    for model, words in theirs.items():
        mine = [json.dumps(request["messages"]).lower() for request in talkative.requests if request["model"] == model]
        assert len(mine) == 2 * 17
        assert not any(
            word in message for message in mine for word in [*words, "neighbours\\", "gaussian", "others looked"]
        )


def test_at_first_nobody_is_told_anything(talkative: ScriptedServer) -> None:
    diagnosed(talkative, True, fitted(talkative, debate=True))
    for request in talkative.requests:
        if len(request["messages"]) == 2:
            assert "Others looked" not in json.dumps(request)
