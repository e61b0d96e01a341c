"""Batching: images that many people bring at once are diagnosed together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from consilience.agents import Agent
from consilience.diagnosis import Diagnosis, FailedImage
from consilience.images import ImageSource
from consilience.orchestrator.current import Current
from consilience.settings import Settings

GATHER_SECONDS = 0.005
"""How long an image waits for others to come along."""

RUNS = 4
"""Runs at once: where models are slow to answer, nobody waits for the answers to others."""


class Batching(Current):
    """A `Current` whose `adiagnose` shares runs; for one event loop.

    What comes within GATHER_SECONDS, or while all runs are busy, goes into one run of `diagnose_many`. Each image has
    its own result, and one that cannot be diagnosed fails alone.

    Attributes:
        on_run: told of each run how many images it takes.
    """

    on_run: Callable[[int], object] = staticmethod(lambda images: None)

    def __init__(self, path: Path, settings: Settings, agents: Sequence[Agent] = ()) -> None:
        super().__init__(path, settings, agents)
        self._waiting: deque[tuple[ImageSource, asyncio.Future[Diagnosis]]] = deque()
        self._runs: set[asyncio.Task[None]] = set()

    async def adiagnose(self, image: ImageSource, *, look_again: bool = False) -> Diagnosis:
        """See `Diagnoser.adiagnose`."""
        if look_again:
            return await super().adiagnose(image, look_again=True)
        result: asyncio.Future[Diagnosis] = asyncio.get_running_loop().create_future()
        self._waiting.append((image, result))
        if len(self._runs) < min(RUNS, len(self._waiting)):
            run = asyncio.create_task(self._run_what_waits())
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)
        return await result

    async def _run_what_waits(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        while batch := self._taken():
            self.on_run(len(batch))
            try:
                results = await asyncio.to_thread(self._diagnosed, [image for image, _ in batch])
            except Exception as error:  # whatever it is, everybody who waits is told, and nobody waits for ever
                for _, result in batch:
                    _tell(result, error)
                continue
            for (_, result), outcome in zip(batch, results, strict=True):
                _tell(result, outcome.error if isinstance(outcome, FailedImage) else outcome)

    def _taken(self) -> list[tuple[ImageSource, asyncio.Future[Diagnosis]]]:
        """The next images, without those that nobody waits for any more."""
        taken: list[Any] = []
        while self._waiting and len(taken) < self.settings.batch_size:
            one = self._waiting.popleft()
            if not one[1].done():
                taken.append(one)
        return taken

    def _diagnosed(self, images: Sequence[ImageSource]) -> list[Diagnosis | FailedImage]:
        return list(self.diagnose_many(images, keep_images=True))


def _tell(result: asyncio.Future[Diagnosis], outcome: Diagnosis | Exception) -> None:
    if result.done():  # cancelled: whoever asked has gone
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
