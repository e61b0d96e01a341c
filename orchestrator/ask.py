"""Asking an agent, so that nothing that it does stops the diagnosis: what fails becomes a failed prediction."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from consilience.agents import Agent, Views
from consilience.evidence import Evidence
from consilience.prediction import Prediction, Stage

log = logging.getLogger(__name__)


async def first_look(agent: Agent, views: Views, timeout: float) -> list[Prediction]:
    """One prediction a view; failed ones, with the cause, if the agent raises, hangs or answers wrongly."""
    return await _ask(agent.name, "first", views, timeout, agent.look, views)


async def second_look(
    agent: Agent, views: Views, first: Sequence[Prediction], evidence: Sequence[Evidence], timeout: float
) -> list[Prediction]:
    """As `first_look`, with the agent's own first predictions and the evidence in hand."""
    return await _ask(agent.name, "second", views, timeout, agent.look_again, views, first, evidence)


async def _ask(
    name: str,
    stage: Stage,
    views: Views,
    timeout: float,
    look: Callable[..., Sequence[Prediction] | Awaitable[Sequence[Prediction]]],
    *arguments: Any,
) -> list[Prediction]:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout):
            if inspect.iscoroutinefunction(look):
                answer = await look(*arguments)
            else:
                answer = await _in_thread(look, *arguments)
        predictions = _checked(answer, name, stage, views)
    except TimeoutError:
        predictions = _failed(name, stage, views, f"no answer within {timeout:.3g} seconds")
    except Exception as error:  # whatever a stranger's agent raises is its failure, recorded with its cause
        log.warning("agent '%s' failed on %d images", name, len(views), exc_info=error)
        predictions = _failed(name, stage, views, f"{type(error).__name__}: {error}")
    seconds = (time.perf_counter() - started) / max(len(views), 1)
    return [one if one.seconds else replace(one, seconds=seconds) for one in predictions]


def _checked(answer: Sequence[Prediction], name: str, stage: Stage, views: Views) -> list[Prediction]:
    """An agent's answer under its own name and stage, whatever it claims to be. ValueError if it is no answer."""
    predictions = list(answer)
    if len(predictions) != len(views):
        raise ValueError(f"{len(predictions)} predictions for {len(views)} images")
    for prediction in predictions:
        given = prediction.probabilities
        if given is not None and tuple(given) != views.task.names:
            raise ValueError(f"probabilities for the labels {list(given)}, the task has {list(views.task.names)}")
    return [
        one if (one.agent, one.stage) == (name, stage) else replace(one, agent=name, stage=stage) for one in predictions
    ]


def _failed(name: str, stage: Stage, views: Views, cause: str) -> list[Prediction]:
    return [Prediction(name, stage, error=cause) for _ in range(len(views))]


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a daemon thread: one that hangs is left behind and does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if done.done():  # timed out meanwhile
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except Exception as raised:  # handed to whoever waits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=f"consilience-{getattr(function, '__qualname__', 'look')}", daemon=True).start()
    return await done
