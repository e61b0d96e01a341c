"""BackgroundLoop: an event loop in a thread of its own, to which any thread or task hands its coroutines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from consilience.core.errors import PanelError

T = TypeVar("T")

CLOSING_SECONDS = 5.0
"""How long `close` waits for what is under way to end."""


class BackgroundLoop:
    """An event loop in a thread of its own. Runs until it is closed; a process that ends does not wait for it.

    A fork does not take the thread along: in a child, a new loop is opened when it is first needed.
    """

    def __init__(self, name: str, refusal: str) -> None:
        """`name`: of the thread. `refusal`: the PanelError of whoever hands it work when it is closed."""
        self._name, self._refusal, self._is_closed = name, refusal, False
        self._opening = threading.Lock()
        self._open()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `work`. Raises PanelError if the loop is closed."""
        if self._is_closed:
            work.close()
            raise PanelError(self._refusal)
        if self._process != os.getpid():
            with self._opening:
                if self._process != os.getpid():
                    self._open()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and return its result.

        It is given up if the waiting is interrupted, by Ctrl-C too: it must not go on and spend.

        Raises:
            PanelError: as `submit`. Others: what `work` raises.
        """
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Give up what is under way. A second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._process == os.getpid():  # else its thread is another process'
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSING_SECONDS)

    def _open(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True)
        self._thread.start()
        self._process = os.getpid()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop until it is stopped, then cancel what is under way, so that nobody waits for it.

        The runner also ends the loop's asynchronous generators, and so closes the connections of endpoints.
        """
        with asyncio.Runner(loop_factory=lambda: loop):
            loop.run_forever()
