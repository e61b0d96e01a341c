"""Every fault of an endpoint is a failed prediction of that image, with a clear cause and without a secret."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import numpy as np
import pytest

from consilience.core.prediction import Prediction
from tests.support.scripted_server import Scripted, ScriptedServer, chat, logprobs, says
from tests.support.vlm_cases import agent, image, inputs, look, pictures

SECRET = "sk-very-secret-1234567890"  # noqa: S105
REFUSED = {"error": {"message": f"wrong key {SECRET}, go away", "type": "error"}}
CHOICE = {"confidence": "logprob"}
SURE = [("rust", 0.0)]

FAULTS: dict[str, tuple[Scripted, dict[str, Any], str]] = {
    "401": (Scripted(REFUSED, 401), {}, "status 401: wrong key [key], go away; check the key"),
    "404": (
        Scripted({"error": {"message": "no model 'tiny'"}}, 404),
        {},
        "status 404: no model 'tiny'; check 'base_url'",
    ),
    "400": (Scripted(b"a picture is\nbroken", 400), {}, "status 400: a picture is broken"),
    "408": (Scripted({}, 408), {}, "status 408"),
    "429": (Scripted({}, 429), {}, "status 429: {}; lower 'concurrency'"),
    "500": (Scripted(b"<html>oops</html>", 500), {}, "status 500: < html>oops< /html>"),
    "503": (Scripted({}, 503), {}, "status 503"),
    "reset": (Scripted(fault="reset"), {}, "no whole reply (Read"),
    "closed": (Scripted(fault="closed"), {}, "no whole reply (RemoteProtocolError"),
    "half": (Scripted(says("rust"), fault="half"), {}, "no whole reply (RemoteProtocolError"),
    "endless": (Scripted(fault="endless"), {"max_retries": 5}, "the reply does not end; 8388608 bytes"),
    "drip": (Scripted(fault="drip"), {"timeout_seconds": 0.2}, "no whole reply within 0.2 seconds"),
    "silence": (Scripted(fault="silence"), {"timeout_seconds": 0.2}, "no whole reply within 0.2 seconds"),
    "html": (Scripted(b"<html>login</html>"), {}, "did not answer with a chat completion (body: Invalid JSON"),
    "not a completion": (Scripted({"ok": True}), {}, "did not answer with a chat completion (choices: Field required)"),
    "no choices": (chat(), {}, "without choices"),
    "negative usage": (chat(says("rust"), tokens=(-1, 0)), {}, "usage.prompt_tokens: Input should be greater"),
    "refusal": (chat(None, message={"content": None, "refusal": "I\nmay not"}), {}, "the model refused: I may not"),
    "filter": (chat("", finish_reason="content_filter"), {}, "content filter withheld"),
    "empty": (chat(None), {}, "the reply is empty"),
    "length": (
        chat('{"rationale": "th', finish_reason="length"),
        {},
        "the reply is no answer: it was cut off at max_tokens",
    ),
    "empty length": (chat("", finish_reason="length"), {}, "the reply is empty: it was cut off at max_tokens"),
    "no logprobs": (chat("rust"), CHOICE, "no log probabilities"),
    "null logprobs": (chat("rust", logprobs={"content": None}), CHOICE, "no log probabilities"),
    "too few logprobs": (chat("rust", logprobs=logprobs(("ru", [("ru", 0.0)]))), CHOICE, "of 1 tokens do not spell"),
    "logprobs of another": (chat("rust", logprobs=logprobs(("scab", [("scab", 0.0)]))), CHOICE, "do not spell"),
    "no alternatives": (chat("rust", logprobs=logprobs(("rust", []))), CHOICE, "without alternatives"),
    "NaN logprob": (chat("rust", logprobs=logprobs(("rust", [("rust", math.nan)]))), CHOICE, "at most 0"),
    "positive logprob": (chat("rust", logprobs=logprobs(("rust", [("rust", 0.5)]))), CHOICE, "at most 0"),
    "over one": (chat("rust", logprobs=logprobs(("rust", [*SURE, ("scab", 0.0)]))), CHOICE, "sum to 2.000"),
    "confidence NaN": (chat(says("rust", math.nan)), {}, "NaN is no number"),
    "missing field": (chat('{"label": "rust"}'), {}, "lacks the key 'confidence'"),
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", SECRET)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_one_image_and_the_others_go_on(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    reply, settings, cause = FAULTS[fault]
    good = chat("rust", logprobs=logprobs(("rust", SURE))) if settings == CHOICE else chat(says("rust"))
    server.by_request = lambda request: reply if np.asarray(pictures(request)[0]).mean() < 100 else good
    caplog.set_level(logging.DEBUG)
    seen = look(agent(server, key_variable="A_KEY", **settings), image(200), image(50), image(210))
    assert [prediction.label for prediction in seen] == ["rust", None, "rust"]
    assert seen[1].error is not None
    assert cause in seen[1].error
    assert seen[1].cost_usd == 0.0
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(seen)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_pass_is_tried_again(server: ScriptedServer, status: int) -> None:
    server.replies = [
        Scripted({}, status, {"retry-after": "0"}),
        Scripted({}, status, {"retry-after": "0"}),
        chat(says("rust")),
    ]
    assert look(agent(server, max_retries=2), image(1))[0].label == "rust"
    assert len(server.requests) == 3


def test_a_broken_connection_is_tried_again_without_being_told_when(server: ScriptedServer) -> None:
    server.replies = [Scripted(says("rust"), fault="half"), chat(says("rust"))]
    assert look(agent(server, max_retries=1), image(1))[0].label == "rust"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_does_not_pass_is_not_tried_again(server: ScriptedServer, status: int) -> None:
    server.replies = [Scripted({}, status)]
    assert f"status {status}" in str(look(agent(server, max_retries=3), image(1))[0].error)
    assert len(server.requests) == 1


def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(server: ScriptedServer) -> None:
    server.replies = [Scripted({"error": {"message": "slow down"}}, 429, {"retry-after": "3600"})]
    assert "status 429: slow down (retry after: 3600)" in str(look(agent(server, max_retries=3), image(1))[0].error)
    assert len(server.requests) == 1


def test_an_answer_that_is_whole_counts_even_if_blanks_were_cut_off_behind_it(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust") + " " * 100, finish_reason="length")]
    assert look(agent(server), image(1))[0].label == "rust"


def test_what_was_paid_before_a_failure_is_counted(server: ScriptedServer) -> None:
    server.replies = [chat("what?"), Scripted({}, 400)]
    [seen] = look(agent(server, price_per_million_input_tokens=10), image(1))
    assert (seen.tokens, seen.raw) == (110, "what?")
    assert seen.cost_usd == pytest.approx(1e-3)
    assert "status 400" in str(seen.error)


def test_an_endpoint_that_does_not_say_what_it_used(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust"), tokens=None)]
    [seen] = look(agent(server, price_per_million_input_tokens=10), image(1))
    assert (seen.label, seen.tokens, seen.cost_usd) == ("rust", 0, 0.0)


def test_nobody_listens(server: ScriptedServer) -> None:
    qwen = agent(server, base_url="http://127.0.0.1:1/v1")
    assert "no whole reply (ConnectError" in str(look(qwen, image(1))[0].error)


@pytest.mark.parametrize(("value", "cause"), [(None, "is not set"), (" ", "is not set"), ("sk-ü", "no key can have")])
def test_a_key_that_is_missing_or_none(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, value: str | None, cause: str
) -> None:
    monkeypatch.delenv("A_KEY") if value is None else monkeypatch.setenv("A_KEY", value)
    error = str(look(agent(server, key_variable="A_KEY"), image(1))[0].error)
    assert "variable A_KEY" in error
    assert cause in error
    assert not server.requests


def test_a_key_that_a_server_sends_back_is_not_kept(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust", rationale=f"your key is {SECRET}"))]
    [seen] = look(agent(server, key_variable="A_KEY"), image(1))
    assert seen.rationale == "your key is [key]"
    assert SECRET not in repr(seen)


def test_a_cancelled_look_leaves_nothing_behind(server: ScriptedServer) -> None:
    server.replies = [Scripted(fault="silence")]

    async def cancelled() -> None:
        asking = asyncio.create_task(agent(server).predict(inputs(image(1), image(2))))
        while len(server.requests) < 2:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(cancelled())


def test_a_failed_prediction_is_a_prediction(server: ScriptedServer) -> None:
    server.replies = [Scripted({}, 503)]
    [seen] = look(agent(server), image(1))
    assert Prediction.from_dict(seen.to_dict()) == seen
