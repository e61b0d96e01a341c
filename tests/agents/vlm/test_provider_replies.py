"""Replies as providers send them are read for what they mean; what stays ambiguous fails, and quotes the reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.real_data import real_data
from tests.support.scripted_server import Scripted, ScriptedServer, chat, says
from tests.support.vlm_cases import agent, image, look

NAMES = (
    "null-usage", "logprobs-an-empty-list", "content-in-parts", "content-null-answer-in-reasoning-content",
    "draft-in-think", "said-twice", "two-that-differ", "decimal-comma", "percent", "label-in-a-list",
    "refusal-in-prose", "error-in-a-200", "error-in-a-choice", "choices-null", "unknown-field-refused",
    "one-image-a-request", "quota-used-up",
)  # fmt: skip


def recorded(name: str) -> tuple[Scripted, str]:
    """Return a reply of the collection, and what it means."""
    entry: dict[str, Any] = json.loads(real_data("faults/replies.json").read_text(encoding="utf-8"))[name]
    return Scripted(entry["body"], entry["status"], {"retry-after": "0"} | entry["headers"]), entry["means"]


def test_every_reply_of_the_collection_is_tried() -> None:
    assert set(NAMES) == set(json.loads(real_data("faults/replies.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("unknown-field-refused", "quota-used-up")])
def test_a_reply_as_a_provider_sends_it(server: ScriptedServer, name: str) -> None:
    reply, means = recorded(name)
    server.replies = [reply]
    [seen] = look(agent(server, max_retries=0), image(100))
    if means == "rust 0.85":
        assert (seen.label, seen.confidence, seen.error, len(server.requests)) == ("rust", 0.85, None, 1)
        return
    assert seen.label is None
    assert {
        "two-that-differ": "2 JSON objects that differ; it must be exactly one; it answered",
        "refusal-in-prose": "I'm sorry, but I can't help with identifying this.",
        "error-in-a-200": "status 429: upstream is busy, retry shortly",
        "error-in-a-choice": "status 502: upstream idle",
        "choices-null": "status 503: no worker is free",
        "one-image-a-request": "At most 1 image(s) may be provided in one request.",
    }[name] in str(seen.error)


@pytest.mark.parametrize("name", ["error-in-a-200", "error-in-a-choice", "choices-null"])
def test_an_error_in_a_200_is_tried_again_where_it_may_pass(server: ScriptedServer, name: str) -> None:
    server.replies = [recorded(name)[0], chat(says("rust"))]
    assert look(agent(server, max_retries=1), image(100))[0].label == "rust"


def test_a_quota_that_is_used_up_is_said_and_not_tried_again(server: ScriptedServer) -> None:
    entry = json.loads(real_data("faults/replies.json").read_text(encoding="utf-8"))["quota-used-up"]
    server.replies = [Scripted(entry["body"], entry["status"], entry["headers"])]
    [seen] = look(agent(server, max_retries=3), image(100))
    assert "the quota or credit of the account is used up" in str(seen.error)
    assert "concurrency" not in str(seen.error)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "words", "passes"),
    [
        ({"error": "Overloaded"}, "the endpoint sent an error: Overloaded", True),
        ({"error": {"message": "no such model", "type": "not_found_error"}}, "an error: no such model", False),
        ({"error": {"message": "no such model", "code": "404"}}, "404: no such model; check 'base_url'", False),
        ({"object": "error", "message": "engine is dead", "code": 500}, "status 500: engine is dead", True),
        (
            {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "gpu lost"}}},
            "status 502: Provider returned error (gpu lost)",
            True,
        ),
        ({"error": {"message": "Insufficient credits", "code": 402}}, "quota or credit of the account is used", False),
        ({"choices": [{"finish_reason": "error", "message": {"content": "{"}}]}, "the model was interrupted", True),
    ],
)
def test_errors_in_a_200(server: ScriptedServer, body: dict[str, Any], words: str, passes: bool) -> None:
    server.replies = [Scripted(body), chat(says("rust"))]
    assert words in str(look(agent(server), image(1))[0].error)
    server.replies = [Scripted(body), chat(says("rust"))]
    assert (look(agent(server, max_retries=1), image(2))[0].label == "rust") == passes


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (402, {"error": {"message": "Insufficient Balance"}}, "quota or credit"),
        (429, {"error": {"message": "You exceeded your current quota. Please retry in 28 s."}}, "lower 'concurrency'"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}, "status 422: body.seed: Extra inputs"),
        (400, {"error": {"message": "is bad", "param": "top_logprobs"}}, "status 400: top_logprobs: is bad"),
        (307, {}, "it moved to http://127.0.0.1:1/v2; set 'base_url'"),
    ],
)
def test_the_cause_and_what_to_do(server: ScriptedServer, status: int, body: dict[str, Any], words: str) -> None:
    server.replies = [Scripted(body, status, {"location": "http://127.0.0.1:1/v2"} if status == 307 else {})]
    assert words in str(look(agent(server), image(1))[0].error)


def _events(*chunks: Any) -> Scripted:
    lines = [": OPENROUTER PROCESSING\n\n", *(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]
    return Scripted("".join(lines).encode(), headers={"content-type": "text/event-stream"})


def test_a_stream_that_nobody_asked_for_is_read(server: ScriptedServer) -> None:
    whole = says("rust")
    deltas = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in (whole[:20], whole[20:])]
    server.replies = [_events(*deltas, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})]
    [seen] = look(agent(server), image(1))
    assert (seen.label, seen.tokens) == ("rust", 10)


def test_an_error_in_the_middle_of_a_stream_is_the_error(server: ScriptedServer) -> None:
    begun = {"choices": [{"index": 0, "delta": {"content": '{"lab'}}]}
    server.replies = [_events(begun, {"error": {"code": 502, "message": "gone"}, "choices": []})]
    assert "status 502: gone" in str(look(agent(server), image(1))[0].error)


DRAFT = '{"rationale": "x", "label": "scab", "confidence": 0.5}'


@pytest.mark.parametrize(
    "content",
    [
        f"Perhaps {DRAFT}? No.\n</think>\n{says('rust')}",  # the beginning stands in the prompt
        f"<thinking>{DRAFT}</thinking>{says('rust')}",
        f"[THINK]{DRAFT}[/THINK]{says('rust')}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{says('rust')}",
    ],
)
def test_a_draft_is_no_answer(server: ScriptedServer, content: str) -> None:
    server.replies = [chat(content)]
    assert look(agent(server), image(1))[0].label == "rust"


@pytest.mark.parametrize(
    "message",
    [
        {"content": f"<think>{DRAFT}</think>"},
        {"content": f"<think>Perhaps {DRAFT}"},
        {"content": "", "reasoning_content": f"Perhaps {DRAFT}? Let me look again."},
        {"content": None, "reasoning": f"Perhaps {DRAFT}? Let me look again."},
    ],
)
def test_a_reply_of_drafts_alone_has_failed_and_is_quoted(server: ScriptedServer, message: dict[str, Any]) -> None:
    server.replies = [chat(None, message=message)]
    [seen] = look(agent(server), image(1))
    assert seen.label is None
    assert "the reply is a draft without an answer, " in str(seen.error)
    assert "scab" in str(seen.error)


def test_counts_with_a_fraction_and_parts_that_are_plain_text(server: ScriptedServer) -> None:
    whole = says("rust")
    reply = chat(None, message={"content": [whole[:9], {"type": "text", "text": whole[9:]}]})
    reply.body["usage"] = {"prompt_tokens": 100.0, "completion_tokens": None}
    server.replies = [reply]
    [seen] = look(agent(server), image(1))
    assert (seen.label, seen.tokens) == ("rust", 100)


def test_a_refusal_that_is_a_part(server: ScriptedServer) -> None:
    server.replies = [chat(None, message={"content": [{"type": "refusal", "refusal": "I may not"}]})]
    assert "the model refused: I may not" in str(look(agent(server), image(1))[0].error)
