"""Asking an agent, so that nothing that it does stops the diagnosis: what fails becomes a failed prediction."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from consilience.agents import Agent, AgentInput, Captioner, Head
from consilience.core.errors import BudgetSpentError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction, Stage
from consilience.prompts import clean

log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def first_look(agent: Agent, inputs: AgentInput, timeout: float, deadline: float = math.inf) -> list[Prediction]:
    """Return one prediction a view; failed ones, with the cause, if the agent raises, hangs or answers wrongly.

    An async agent is asked about each image by itself, all at once, so that one that fails or hangs costs the others
    nothing; a plain one is asked about all together, in a thread.

    Args:
        timeout: seconds that the agent has for each image: for n images together n times as many, because they may
            have to wait for each other.
        deadline: `time.monotonic()` at which the agent's time is up in any case.

    Raises:
        BudgetSpentError: the agent may spend no more. That is no failure of the agent, and ends the run.
    """
    return await _ask(agent, "first", inputs, timeout, deadline, agent.predict)


async def second_look(
    agent: Agent,
    inputs: AgentInput,
    first: Sequence[Prediction],
    evidence: Sequence[Evidence],
    timeout: float,
    deadline: float = math.inf,
) -> list[Prediction]:
    """Return predictions as `first_look` does, with the agent's own first predictions and the evidence in hand."""
    return await _ask(agent, "second", inputs, timeout, deadline, agent.revise, first, evidence)


async def caption(agent: Captioner, inputs: AgentInput, timeout: float) -> list[Prediction]:
    """Return what the agent sees in each image, asked as in `first_look`: abstentions with a rationale."""
    return await _ask(agent, "first", inputs, timeout, math.inf, agent.caption)


async def _ask(
    agent: Agent,
    stage: Stage,
    inputs: AgentInput,
    timeout: float,
    deadline: float,
    look: Callable[..., Sequence[Prediction] | Awaitable[Sequence[Prediction]]],
    *known: Sequence[Any],
) -> list[Prediction]:
    """Ask; `known` are sequences of one entry a view that the look is given as well."""
    seconds = min(timeout * len(inputs), max(deadline - time.monotonic(), 0.0))
    if not inspect.iscoroutinefunction(look):
        return await _answer(agent, stage, inputs, seconds, look, *known)
    alone = [
        _answer(agent, stage, inputs.take([row]), seconds, look, *([values[row]] for values in known))
        for row in range(len(inputs))
    ]
    answers = await asyncio.gather(*alone, return_exceptions=True)  # those that go on are waited for
    predictions: list[Prediction] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        predictions += answer
    return predictions


async def _answer(
    agent: Agent,
    stage: Stage,
    inputs: AgentInput,
    seconds: float,
    look: Callable[..., Sequence[Prediction] | Awaitable[Sequence[Prediction]]],
    *known: Sequence[Any],
) -> list[Prediction]:
    name, started, limit = agent.name, time.perf_counter(), asyncio.timeout(seconds)
    try:
        async with limit:
            if inspect.iscoroutinefunction(look):
                answer = await look(inputs, *known)
            elif isinstance(agent, Head):  # a few small products, which take less time than starting a thread
                answer = look(inputs, *known)
            else:
                answer = await _in_thread(look, inputs, *known)
                if inspect.isawaitable(answer):  # an async function behind a plain one, such as a decorator's
                    answer = await answer
        predictions = _checked(answer, name, stage, inputs)
    except (asyncio.CancelledError, BudgetSpentError):  # the run was given up
        raise
    except BaseException as error:  # whatever an agent raises is its failure: SystemExit, a panic in Rust
        log.warning("agent '%s' failed on %d images", name, len(inputs), exc_info=error)
        detail = f"{type(error).__name__}: {clean(str(error))}"
        cause = f"no answer within {seconds:.3g} seconds" if limit.expired() else detail
        predictions = _failed(name, stage, inputs, cause)
    each = (time.perf_counter() - started) / max(len(inputs), 1)
    return [prediction if prediction.seconds else prediction.taking(each) for prediction in predictions]


def _checked(answer: Sequence[Prediction], name: str, stage: Stage, inputs: AgentInput) -> list[Prediction]:
    """Return an agent's answer under its own name and stage, whatever it claims to be.

    Raises:
        ValueError: it is no answer.
    """
    predictions = list(answer)
    if len(predictions) != len(inputs):
        raise ValueError(f"{len(predictions)} predictions for {len(inputs)} images")
    names = inputs.task.names
    for prediction in predictions:
        probabilities = prediction.probabilities
        if probabilities is not None and tuple(probabilities) != names:
            raise ValueError(f"probabilities for the labels {list(probabilities)}, the task has {list(names)}")
    return [
        prediction
        if (prediction.agent, prediction.stage) == (name, stage)
        else replace(prediction, agent=name, stage=stage)
        for prediction in predictions
    ]


def _failed(name: str, stage: Stage, inputs: AgentInput, cause: str) -> list[Prediction]:
    return [Prediction(name, stage, error=cause) for _ in range(len(inputs))]


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a daemon thread: one that hangs is left behind and does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not done.done():  # else timed out meanwhile
            done.set_result((result, error))  # not set_exception, which refuses a StopIteration

    def work() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except BaseException as raised:  # handed to whoever waits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=f"consilience-{getattr(function, '__qualname__', 'look')}", daemon=True).start()
    result, error = await done
    if error is not None:
        raise error
    return result


def run_sync(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the work and return its result. In a thread of its own where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
