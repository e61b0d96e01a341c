"""Coalescer: what many ask for at once is done in one piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class Coalescer(Generic[Request, Result]):
    """Does one piece of work at a time, in a thread; what is asked meanwhile is the next one. For one event loop.

    Sixteen transactions at once take twice the processor's time of one that holds them all: they wait for each other.
    """

    def __init__(self, work: Callable[[Sequence[Request]], Sequence[Result]]) -> None:
        """`work`: returns a result for each request, or raises for all of them."""
        self._work = work
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, request: Request) -> Result:
        """Return the result for one request; raises whatever the work raised."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_off())
        return await future

    async def _work_off(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            try:
                results = await asyncio.to_thread(self._work, [request for request, _ in taken])
            except Exception as error:  # whatever it is, nobody waits for ever
                for _, future in taken:
                    if not future.done():  # cancelled: whoever asked has gone
                        future.set_exception(error)
            else:
                for (_, future), result in zip(taken, results, strict=True):
                    if not future.done():
                        future.set_result(result)
