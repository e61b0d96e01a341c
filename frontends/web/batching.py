"""Batching: images that many people bring at once are diagnosed together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from consilience.agents import Agent
from consilience.diagnosis import Diagnosis, FailedImage
from consilience.images import ImageSource
from consilience.orchestrator.current import Current
from consilience.retrieval.embedding import usable_cores
from consilience.settings import Settings

GATHER_SECONDS = 0.005
"""How long an image waits for others to come along."""

RUNS = 4
"""Runs at once: where models are slow to answer, nobody waits for the answers to others."""

FEW = 8
"""Images that one run takes, although nothing is left for the next."""

Waiting: TypeAlias = tuple[ImageSource, asyncio.Future[Diagnosis]]


class Batching(Current):
    """A `Current` whose `adiagnose` shares runs; for one event loop.

    One run embeds at a time, on all cores; what comes meanwhile goes into the next, which begins when it has embedded:
    the busier, the larger the runs, and the less each image costs. A run leaves half of the images to the next, so that
    the cores embed those while these are weighed and answered. Each image has its own result, and one that cannot be
    diagnosed fails alone.

    Attributes:
        on_run: told of each run how many images it takes.
    """

    on_run: Callable[[int], object] = staticmethod(lambda images: None)

    def __init__(self, path: Path, settings: Settings, agents: Sequence[Agent] = ()) -> None:
        self.threads = 2 * usable_cores()  # Python's lock makes them wait for the threads that weigh and answer
        super().__init__(path, settings, agents)
        self._waiting: deque[Waiting] = deque()
        self._runs: set[asyncio.Task[None]] = set()
        self._under_way = 0  # images
        self._starting: asyncio.Task[None] | None = None

    async def adiagnose(self, image: ImageSource, *, look_again: bool = False) -> Diagnosis:
        """See `Diagnoser.adiagnose`."""
        if look_again:
            return await super().adiagnose(image, look_again=True)
        result: asyncio.Future[Diagnosis] = asyncio.get_running_loop().create_future()
        self._waiting.append((image, result))
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start_runs())
        return await result

    async def _start_runs(self) -> None:
        """Start one run after the other while something waits."""
        await asyncio.sleep(GATHER_SECONDS)
        while batch := self._taken():
            self.on_run(len(batch))
            is_embedded = asyncio.Event()
            run = asyncio.create_task(self._run_batch(batch, is_embedded))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)
            await is_embedded.wait()
            if len(self._runs) >= RUNS:
                await asyncio.wait(self._runs, return_when=asyncio.FIRST_COMPLETED)

    async def _run_batch(self, batch: Sequence[Waiting], is_embedded: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        images = [image for image, _ in batch]
        self._under_way += len(batch)
        try:
            results = await asyncio.to_thread(
                self._diagnosed, images, lambda: loop.call_soon_threadsafe(is_embedded.set)
            )
        except Exception as error:  # whatever it is, everybody who waits is told, and nobody waits for ever
            for _, result in batch:
                _tell(result, error)
        else:
            for (_, result), outcome in zip(batch, results, strict=True):
                _tell(result, outcome.error if isinstance(outcome, FailedImage) else outcome)
        finally:
            self._under_way -= len(batch)
            is_embedded.set()

    def _taken(self) -> list[Waiting]:
        """The next images, without those that nobody waits for any more."""
        taken: list[Waiting] = []
        half = (self._under_way + len(self._waiting) + 1) // 2
        most = min(max(FEW, half), self.settings.batch_size)
        while self._waiting and len(taken) < most:
            one = self._waiting.popleft()
            if not one[1].done():
                taken.append(one)
        return taken

    def _diagnosed(
        self, images: Sequence[ImageSource], on_embedded: Callable[[], object]
    ) -> list[Diagnosis | FailedImage]:
        return list(self.diagnose_many(images, keep_images=True, on_embedded=on_embedded))


def _tell(result: asyncio.Future[Diagnosis], outcome: Diagnosis | Exception) -> None:
    if result.done():  # cancelled: whoever asked has gone
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
