"""What answers will take, worked out by hand, and who pays."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from consilience.agents import ReplyCache, VlmSettings
from consilience.agents.vlm import spending_estimate
from consilience.agents.vlm.spending_estimate import SpendingEstimate, is_paid, of_looks, of_reasoner
from consilience.core.settings.model_settings import ReasonerSettings
from tests.support.scripted_server import ScriptedServer, chat, says
from tests.support.vlm_cases import TASK, agent, image, look

PRICES = {"price_per_million_input_tokens": 10.0, "price_per_million_output_tokens": 100.0}


def asked(**settings: Any) -> VlmSettings:
    usual = {"name": "gpt", "model": "tiny", "base_url": "http://127.0.0.1:1/v1", "second_look": False, **PRICES}
    return VlmSettings.model_validate(usual | settings)


def test_first_looks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending_estimate, "_read", lambda question: 900)
    estimate = of_looks(asked(concurrency=4), TASK, image(1), list("abcdefghij"), None, captions=False)
    assert (estimate.agents, estimate.calls, estimate.tokens) == (("gpt",), 10, 10 * 1000)
    assert estimate.usd == pytest.approx(10 * (900 * 10 + 100 * 100) / 1e6)
    assert estimate.seconds == pytest.approx(3 * (1 + 100 / 50))  # three rounds of four at once


def test_more_images_of_the_same_kind_take_as_much_more() -> None:
    estimate = SpendingEstimate(("gpt",), 10, 1000, 0.5, 8.0, ("gpt",)).of_more(2.5)
    assert estimate == SpendingEstimate(("gpt",), 25, 2500, 1.25, 20.0, ("gpt",))


def test_pictures_and_texts_are_counted() -> None:
    small = of_looks(asked(), TASK, image(1, (75, 100)), ["a"], None, captions=False)
    large = of_looks(asked(), TASK, image(1, (750, 750)), ["a"], None, captions=False)
    assert large.tokens - small.tokens == 750 - 10


def test_second_looks_captions_and_samples_come_on_top() -> None:
    def calls(captions: bool = False, **settings: Any) -> SpendingEstimate:
        return of_looks(asked(**settings), TASK, image(1), ["a", "b"], None, captions)

    one, both, described = calls(), calls(second_look=True), calls(captions=True)
    assert [each.calls for each in (one, both, described)] == [2, 4, 4]
    assert both.tokens == 2 * one.tokens + 2 * (250 + 4 * 96**2 // 750)
    assert calls(confidence="sampled", samples=3).tokens == one.tokens + 2 * 200
    assert calls(confidence="logprob").tokens < one.tokens
    assert both.seconds == 2 * one.seconds


def test_answers_that_are_kept_are_left_out(server: ScriptedServer, tmp_path: Path) -> None:
    server.replies = [chat(says("rust"))]
    cache, seen = ReplyCache(tmp_path / "replies.sqlite"), [image(1), image(2)]
    qwen = agent(server, cache, **PRICES)
    look(qwen, *seen)
    images = [*(each.identity for each in seen), "another"]
    estimate = of_looks(qwen.settings, TASK, seen[0], images, cache, captions=False)
    assert estimate.calls == 1 + 3  # first looks of one, second looks of all
    without = qwen.settings.model_copy(update={"second_look": False})
    assert of_looks(without, TASK, seen[0], images[:2], cache, captions=False) == SpendingEstimate()


def test_who_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"inside.test": "10.1.2.3", "outside.test": "93.184.216.34"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: [(2, 1, 6, "", (found[host], 0))])
    free = dict.fromkeys(PRICES, 0.0)
    assert is_paid(asked())
    assert not is_paid(asked(**free))
    assert not is_paid(asked(**free, key_variable="A_KEY"))  # on this machine
    assert not is_paid(asked(**free, key_variable="A_KEY", base_url="http://inside.test/v1"))
    assert is_paid(asked(**free, key_variable="A_KEY", base_url="https://outside.test/v1"))
    assert not is_paid(asked(**free, base_url="https://outside.test/v1"))


def test_the_reasoner() -> None:
    reasoner = ReasonerSettings(model="m", base_url="http://127.0.0.1:1/v1", price_per_million_input_tokens=1.0)
    assert of_reasoner(reasoner, "reasoner", list("abc")).calls == 3
    assert of_reasoner(reasoner.model_copy(update={"price_per_million_input_tokens": 0.0}), "r", "a").calls == 0


def test_in_words() -> None:
    estimate = SpendingEstimate(("gpt", "claude"), 240, 240_000, 2.0, 300.0, ())
    assert estimate.words() == "gpt, claude: about 240 calls, 240,000 tokens, 2.00 USD, 5 min."
    assert estimate.words(5.0) == estimate.words()
    assert estimate.words(0.5) == (
        "gpt, claude: about 240 calls, 240,000 tokens, 2.00 USD, 5 min. policy.max_run_cost_usd is 0.5: it would stop "
        "after about 25 % of that, and keep the answers. Raise it to get through."
    )
    unpriced = SpendingEstimate(("gpt",), 2, 2000, 0.0, 3.0, ("gpt",))
    assert unpriced.words() == "gpt: about 2 calls, 2,000 tokens, no price is set, 3 s."
    assert (estimate + unpriced).words().endswith("2.00 USD, 5 min. No price is set for gpt.")


def test_what_is_above_a_limit() -> None:
    assert SpendingEstimate(usd=1.01).is_above(1.0)
    assert not SpendingEstimate(usd=1.0).is_above(1.0)
    assert SpendingEstimate(tokens=2_000_000, unpriced=("gpt",)).is_above(1.0)
    assert not SpendingEstimate(tokens=2_000_000).is_above(1.0)
