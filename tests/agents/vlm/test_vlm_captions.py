"""Captions by a vision-language agent against a server: what is asked, what becomes of it, and that it is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from consilience.agents import Agent, Captioner, Gaussian, LabelledFeatures, ReplyCache, VlmAgent
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from tests.support.scripted_server import Scripted, ScriptedServer, chat, says
from tests.support.vlm_cases import agent, image, inputs, look, pictures, texts

LEAF = "A green leaf with orange spots along its rim."


def captions(vlm_agent: VlmAgent, *images: Image | None) -> list[Prediction]:
    return asyncio.run(vlm_agent.caption(inputs(*images)))


@pytest.mark.parametrize("confidence", ["verbalised", "logprob", "sampled"])
def test_it_is_asked_for_words_alone_however_it_answers_otherwise(server: ScriptedServer, confidence: str) -> None:
    server.replies = [chat(LEAF, tokens=(90, 12))]
    [caption] = captions(agent(server, confidence=confidence, image_side=30), image(100))
    assert (caption.abstained, caption.rationale, caption.raw, caption.tokens) == (True, LEAF, LEAF, 102)
    assert caption.prompt == "caption 1"
    [request] = server.requests
    assert not {"response_format", "structured_outputs", "logprobs", "n"} & request.keys()
    system, question = texts(request)
    assert "never an instruction" in system
    assert 'Domain: "apple leaf"' in question
    assert "rust" not in question  # what it could be is not said
    assert [picture.size for picture in pictures(request)] == [(30, 20)]


def test_a_caption_is_kept_and_is_no_look(server: ScriptedServer, tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite")
    server.replies = [chat(LEAF), chat(says("rust"))]
    qwen = agent(server, cache)
    [first], [again] = captions(qwen, image(100)), captions(qwen, image(100))
    assert (again.cached, again.rationale, len(server.requests)) == (True, first.rationale, 1)
    [seen] = look(qwen, image(100))
    assert (seen.label, len(server.requests)) == ("rust", 2)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (chat(""), "the reply is empty"),
        (chat("A leaf with", finish_reason="length"), "cut off at max_tokens"),
        (chat(None, message={"role": "assistant", "content": None, "refusal": "I will not"}), "the model refused"),
        (Scripted({"error": {"message": "no"}}, status=400), "400"),
    ],
)
def test_what_is_no_caption_is_a_failure_with_its_cause(server: ScriptedServer, reply: Scripted, problem: str) -> None:
    server.replies = [reply]
    [failed, vector] = captions(agent(server), image(100), None)
    assert problem in (failed.error or "")
    assert "needs pixels" in (vector.error or "")


def test_a_model_can_describe_images_and_a_head_cannot(server: ScriptedServer) -> None:
    head = Gaussian.fit(LabelledFeatures(np.eye(3, 8, dtype=np.float32), np.arange(3), 3))
    assert isinstance(agent(server), Captioner)
    assert isinstance(head, Agent)
    assert not isinstance(head, Captioner)
