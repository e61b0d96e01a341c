"""A run spends no more than its budget, keeps what was paid for, and goes on from there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consilience.agents import Budget, ReplyCache, VlmAgent, VlmSettings
from consilience.core.errors import BudgetSpentError
from consilience.core.prediction import Prediction
from tests.support.scripted_server import Scripted, ScriptedServer, chat, says
from tests.support.vlm_cases import image, inputs

PRICES = {"price_per_million_input_tokens": 10.0, "price_per_million_output_tokens": 100.0}
ANSWER = chat(says("rust"), tokens=(100, 10))
COST = 100 * 10.0 / 1e6 + 10 * 100.0 / 1e6


def agent(server: ScriptedServer, budget: Budget, cache: ReplyCache | None = None, **settings: Any) -> VlmAgent:
    usual = {"name": "qwen", "model": "tiny", "base_url": server.url, "max_retries": 0} | PRICES
    return VlmAgent(VlmSettings.model_validate(usual | settings), cache, budget)


async def seen(*looks: Any) -> list[list[Prediction] | BaseException]:
    answers: list[list[Prediction] | BaseException] = await asyncio.gather(*looks, return_exceptions=True)
    return answers


def answered(vlm_agent: VlmAgent, n: int) -> list[Prediction]:
    """Ask about n images, each by itself, and return the answers; errors only where the budget was spent."""
    looks = [vlm_agent.predict(inputs(image(shade))) for shade in range(n)]
    results = asyncio.run(seen(*looks))
    assert all(isinstance(result, list | BudgetSpentError) for result in results), results
    return [prediction for result in results if isinstance(result, list) for prediction in result]


@pytest.mark.parametrize("concurrency", [1, 4, 64])
@pytest.mark.parametrize("affordable", [1, 3, 9])
def test_as_many_requests_are_sent_as_the_budget_pays_for(
    server: ScriptedServer, concurrency: int, affordable: int
) -> None:
    server.replies = [ANSWER]
    budget = Budget(affordable * COST)
    paid = answered(agent(server, budget, concurrency=concurrency), 12)
    assert len(server.requests) == len(paid) == affordable
    assert budget.spent_usd == pytest.approx(affordable * COST)
    assert sum(prediction.cost_usd for prediction in paid) == pytest.approx(budget.spent_usd)


def test_what_runs_at_once_is_bounded_by_the_endpoint_alone_once_the_cost_is_known(server: ScriptedServer) -> None:
    server.replies = [ANSWER]
    budget = Budget(100 * COST)
    qwen = agent(server, budget, concurrency=64)

    async def look_twice() -> list[Prediction]:
        await qwen.predict(inputs(image(100)))
        server.together = 12  # answers only if twelve are there at once
        return await qwen.predict(inputs(*map(image, range(12))))

    assert [prediction.label for prediction in asyncio.run(look_twice())] == ["rust"] * 12
    assert len(server.requests) == 13


def test_a_rerun_with_more_pays_for_the_rest_only(server: ScriptedServer, tmp_path: Path) -> None:
    server.replies = [ANSWER]
    cache = ReplyCache(tmp_path / "replies.sqlite")
    assert len(answered(agent(server, Budget(5 * COST), cache), 8)) == 5
    again = answered(agent(server, Budget(5 * COST), cache), 8)
    assert sorted(prediction.cached for prediction in again) == [False] * 3 + [True] * 5
    assert len(server.requests) == 8
    assert len(answered(agent(server, Budget(COST / 2), cache), 8)) == 8  # nothing has to be paid any more


def test_the_error_says_what_was_spent_of_what_and_what_to_do(server: ScriptedServer) -> None:
    server.replies = [ANSWER]
    qwen = agent(server, Budget(0.005))
    with pytest.raises(BudgetSpentError) as caught:
        asyncio.run(qwen.predict(inputs(*map(image, range(9)))))
    message = str(caught.value)
    assert "0.0040 of 0.005 USD (policy.max_run_cost_usd), and a request of 'qwen' costs 0.0020 on average" in message
    assert "Raise it and run the same again: answers in the reply cache are not paid for twice" in message


def test_agents_share_a_budget(server: ScriptedServer) -> None:
    server.replies = [ANSWER]
    budget = Budget(6 * COST)
    qwen, other = agent(server, budget), agent(server, budget, name="gemma")

    async def both() -> list[list[Prediction] | BaseException]:
        return await seen(*(who.predict(inputs(image(shade))) for shade in range(6) for who in (qwen, other)))

    results = asyncio.run(both())
    # What an agent's first request costs is not known while it runs: so it may come on top.
    assert len(server.requests) == sum(isinstance(result, list) for result in results) in (6, 7)


def test_what_costs_nothing_is_asked_even_if_the_budget_is_spent(server: ScriptedServer) -> None:
    server.replies = [ANSWER]
    budget = Budget(COST)
    assert len(answered(agent(server, budget), 2)) == 1
    free = agent(server, budget, name="own", price_per_million_input_tokens=0.0, price_per_million_output_tokens=0.0)
    assert len(answered(free, 3)) == 3
    assert budget.spent_usd == pytest.approx(COST)


def test_a_reply_that_is_no_answer_is_paid_for_too(server: ScriptedServer) -> None:
    server.replies = [chat("no JSON", tokens=(100, 10)), ANSWER]
    budget = Budget(1.0)
    (prediction,) = answered(agent(server, budget), 1)
    assert prediction.label == "rust"
    assert prediction.cost_usd == pytest.approx(2 * COST)
    assert budget.spent_usd == pytest.approx(2 * COST)


def test_a_request_that_fails_leaves_room_for_others(server: ScriptedServer) -> None:
    server.by_request = lambda _: Scripted({}, 500) if len(server.requests) == 1 else ANSWER
    (failed, *others) = answered(agent(server, Budget(3 * COST), concurrency=1), 4)
    assert [prediction.error is None for prediction in (failed, *others)] == [False, True, True, True]


def test_without_a_bound_all_is_asked_and_counted(server: ScriptedServer) -> None:
    server.replies = [ANSWER]
    server.together = 8
    budget = Budget()
    assert len(answered(agent(server, budget), 8)) == 8
    assert budget.spent_usd == pytest.approx(8 * COST)
