"""What is asked while work is done is done next, together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from consilience.frontends.chat.coalescer import Coalescer


def test_what_is_asked_meanwhile_is_done_together_and_each_has_its_own_answer() -> None:
    done: list[list[int]] = []
    begun, may_go_on = threading.Event(), threading.Event()

    def work(asked: Sequence[int]) -> list[int]:
        begun.set()
        assert may_go_on.wait(60)
        done.append(list(asked))
        return [10 * number for number in asked]

    async def one_and_then_three() -> list[int]:
        together = Coalescer(work)
        first = asyncio.create_task(together(1))
        await asyncio.to_thread(begun.wait, 60)
        others = [asyncio.create_task(together(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        others[1].cancel()  # who goes away disturbs nobody
        may_go_on.set()
        return list(await asyncio.gather(first, others[0], others[2]))

    assert asyncio.run(one_and_then_three()) == [10, 20, 40]
    assert done == [[1], [2, 3, 4]]


def test_an_error_reaches_everybody_and_the_next_is_done() -> None:
    def work(asked: Sequence[int]) -> list[int]:
        if 1 in asked:
            raise OSError("full")
        return list(asked)

    async def two_and_then_one() -> list[object]:
        together = Coalescer(work)
        failed = await asyncio.gather(together(1), together(2), return_exceptions=True)
        return [*map(str, failed), await together(3)]

    assert asyncio.run(two_and_then_one()) == ["full", "full", 3]
