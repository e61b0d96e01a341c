"""Together: what many ask at once is done at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Coalescer(Generic[Asked, Answer]):
    """Does one piece of work at a time, in a thread; what is asked meanwhile is the next one. For one event loop.

    Sixteen transactions at once take twice the processor's time of one that holds them all: they wait for each other.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], Sequence[Answer]]) -> None:
        """`work`: gives an answer to each that is asked, or raises for all of them."""
        self._work = work
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_off())
        return await answer

    async def _work_off(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            try:
                found = await asyncio.to_thread(self._work, [asked for asked, _ in taken])
            except Exception as error:  # whatever it is, nobody waits for ever
                for _, answer in taken:
                    if not answer.done():  # cancelled: whoever asked has gone
                        answer.set_exception(error)
            else:
                for (_, answer), one in zip(taken, found, strict=True):
                    if not answer.done():
                        answer.set_result(one)
