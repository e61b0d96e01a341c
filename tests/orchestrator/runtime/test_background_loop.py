"""The loop in a thread of its own: closed, interrupted, and after a fork."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from consilience.core.errors import PanelError
from consilience.orchestrator.runtime.background_loop import BackgroundLoop
from tests.support.forked import works_in_a_child


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop("test", "it is closed")
    yield loop
    loop.close()


async def twice(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_a_child_opens_a_loop_of_its_own(loop: BackgroundLoop) -> None:
    """A fork takes no threads along: the child waited for ever for one that was not there."""
    assert loop.result(twice(3)) == 6

    def check() -> bool:
        right = [loop.result(twice(number)) for number in range(3)] == [0, 2, 4]
        loop.close()
        return right

    assert works_in_a_child(check)
    assert loop.result(twice(4)) == 8


def test_a_child_may_close_what_it_has_not_used(loop: BackgroundLoop) -> None:
    def check() -> bool:
        loop.close()
        loop.close()
        return True

    assert works_in_a_child(check)
    assert loop.result(twice(5)) == 10


def test_a_closed_one_refuses_in_a_child_too(loop: BackgroundLoop) -> None:
    loop.close()

    def check() -> bool:
        with pytest.raises(PanelError, match="it is closed"):
            loop.result(twice(1))
        return True

    assert check()
    assert works_in_a_child(check)
