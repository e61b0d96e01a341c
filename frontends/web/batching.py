"""Batching: images that many people bring at once are embedded and diagnosed together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.agents import Agent
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.images import ImageSource
from consilience.core.settings.settings import Settings
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.reloading import ReloadingDiagnoser
from consilience.retrieval.encoders.batch_embedding import Embedded, joined, usable_cores

RUNS = 4
"""Runs at once: where models are slow to answer, nobody waits for the answers to others."""

FULL_CHUNK = 32
"""Images for which a run begins, however many more are under way."""


@dataclass(frozen=True, eq=False)
class Asked:
    """An image that somebody waits for, and the generation of the panel that was at work when it came."""

    diagnoser: Diagnoser
    image: ImageSource
    result: asyncio.Future[Diagnosis]

    def tell(self, outcome: Diagnosis | FailedImage | Exception) -> None:
        """Does nothing if nobody waits any more."""
        if self.result.done():
            return
        error = outcome.error if isinstance(outcome, FailedImage) else outcome
        if isinstance(error, Exception):
            self.result.set_exception(error)
        else:
            self.result.set_result(error)


@dataclass(frozen=True)
class Chunk:
    """Some images of one generation, and their vectors."""

    asked: list[Asked]
    embedded: Embedded[ImageSource]


class Batching(ReloadingDiagnoser):
    """A `ReloadingDiagnoser` whose `adiagnose` shares work; for one event loop.

    Images are embedded in chunks as they come, on all cores and without a pause. Those that are ready go into one run
    when they are half of all under way, or when no other is to be embedded: the busier, the larger the runs, and the
    less each image costs; while one half is weighed and answered, the cores embed the other. Each image has its own
    result, and one that cannot be diagnosed fails alone.

    Attributes:
        on_run: told of each run how many images it takes.
    """

    on_run: Callable[[int], object] = staticmethod(lambda images: None)

    def __init__(self, path: Path, settings: Settings, agents: Sequence[Agent] = ()) -> None:
        super().__init__(path, settings, agents)
        self._threads = usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="consilience-embed")
        self._under_way = 0  # images
        self._waiting: deque[Asked] = deque()
        self._embedding: set[asyncio.Task[None]] = set()
        self._ready: deque[Chunk] = deque()
        self._runs: set[asyncio.Task[None]] = set()

    async def adiagnose(self, image: ImageSource, *, revise: bool = False) -> Diagnosis:
        """See `Diagnoser.adiagnose`."""
        if revise:
            return await super().adiagnose(image, revise=True)
        with self._using() as diagnoser:
            asked = Asked(diagnoser, image, asyncio.get_running_loop().create_future())
            self._waiting.append(asked)
            self._under_way += 1
            self._go_on()
            try:
                return await asked.result
            finally:
                self._under_way -= 1

    def close(self) -> None:
        """See `ReloadingDiagnoser.close`."""
        super().close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _go_on(self) -> None:
        """Begin what can be begun."""
        while len(self._embedding) < self._threads and (asked := self._next_asked()):
            self._begin(self._embed(asked), self._embedding)
        while len(self._runs) < RUNS and (chunks := self._next_chunks()):
            self.on_run(sum(len(chunk.asked) for chunk in chunks))
            self._begin(self._diagnose(chunks), self._runs)

    def _begin(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        def is_over(task: asyncio.Task[None]) -> None:
            among.discard(task)
            self._go_on()

        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(is_over)

    def _next_asked(self) -> list[Asked]:
        """What one thread embeds at once, without the images that nobody waits for any more."""
        taken: list[Asked] = []
        while self._waiting:
            pending = self._waiting[0]
            if taken and (pending.diagnoser is not taken[0].diagnoser or len(taken) == pending.diagnoser.encoder.chunk):
                break
            self._waiting.popleft()
            if not pending.result.done():
                taken.append(pending)
        return taken

    def _next_chunks(self) -> list[Chunk]:
        """What goes into the next run, if it is time for one."""
        ready = sum(len(chunk.asked) for chunk in self._ready)
        is_time = ready >= min(FULL_CHUNK, (self._under_way + 1) // 2) or not self._embedding
        taken: list[Chunk] = []
        images = 0
        while is_time and self._ready and images < self.settings.batch_size:
            chunk = self._ready[0]
            if taken and chunk.asked[0].diagnoser is not taken[0].asked[0].diagnoser:
                break
            taken.append(self._ready.popleft())
            images += len(chunk.asked)
        return taken

    async def _embed(self, asked: list[Asked]) -> None:
        images, embed = [pending.image for pending in asked], asked[0].diagnoser.embed
        try:
            embedded = await asyncio.get_running_loop().run_in_executor(self._pool, embed, images)
        except Exception as error:  # whatever it is, everybody who waits is told, and nobody waits for ever
            for pending in asked:
                pending.tell(error)
        else:
            self._ready.append(Chunk(asked, embedded))

    async def _diagnose(self, chunks: list[Chunk]) -> None:
        asked = [pending for chunk in chunks for pending in chunk.asked]
        batch = joined([chunk.embedded for chunk in chunks])
        calibration_set: Sequence[Diagnosis | FailedImage | Exception]
        try:
            calibration_set = await asked[0].diagnoser.adiagnose_embedded(batch)
        except Exception as error:  # as above
            calibration_set = [error] * len(asked)
        for pending, outcome in zip(asked, calibration_set, strict=True):
            pending.tell(outcome)
