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

MAX_RUNS = 4
"""Runs at once: where models are slow to answer, nobody waits for the answers to others."""

FULL_CHUNK = 32
"""Images for which a run begins, however many more are under way."""


@dataclass(frozen=True, eq=False)
class PendingImage:
    """An image that somebody waits for.

    Attributes:
        diagnoser: of the generation of the panel that was in use when the image came.
        image: the image.
        result: where the diagnosis goes.
    """

    diagnoser: Diagnoser
    image: ImageSource
    result: asyncio.Future[Diagnosis]

    def resolve(self, outcome: Diagnosis | FailedImage | Exception) -> None:
        """Give the outcome to whoever waits; nothing happens if nobody does any more."""
        if self.result.done():
            return
        error = outcome.error if isinstance(outcome, FailedImage) else outcome
        if isinstance(error, Exception):
            self.result.set_exception(error)
        else:
            self.result.set_result(error)


@dataclass(frozen=True)
class EmbeddedChunk:
    """Some images of one generation of the panel, and their vectors."""

    pending: list[PendingImage]
    embedded: Embedded[ImageSource]


class Batching(ReloadingDiagnoser):
    """A `ReloadingDiagnoser` whose `adiagnose` shares work; for one event loop.

    Images are embedded in chunks as they come, on all cores and without a pause. Those that are ready go into one run
    when they are half of all under way, or when no other is to be embedded: the busier, the larger the runs, and the
    less each image costs; while one half is weighed and answered, the cores embed the other. Each image has its own
    result, and one that cannot be diagnosed fails alone.

    Attributes:
        on_run: is told of each run how many images it takes.
    """

    on_run: Callable[[int], object] = staticmethod(lambda images: None)

    def __init__(self, path: Path, settings: Settings, agents: Sequence[Agent] = ()) -> None:
        super().__init__(path, settings, agents)
        self._threads = usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="consilience-embed")
        self._under_way = 0  # images
        self._waiting: deque[PendingImage] = deque()
        self._embedding: set[asyncio.Task[None]] = set()
        self._ready: deque[EmbeddedChunk] = deque()
        self._runs: set[asyncio.Task[None]] = set()

    async def adiagnose(self, image: ImageSource, *, revise: bool = False) -> Diagnosis:
        """See `Diagnoser.adiagnose`."""
        if revise:
            return await super().adiagnose(image, revise=True)
        with self._using() as diagnoser:
            waiting = PendingImage(diagnoser, image, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            self._under_way += 1
            self._go_on()
            try:
                return await waiting.result
            finally:
                self._under_way -= 1

    def close(self) -> None:
        """See `ReloadingDiagnoser.close`."""
        super().close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _go_on(self) -> None:
        """Begin what can be begun."""
        while len(self._embedding) < self._threads and (pending := self._next_pending()):
            self._begin(self._embed(pending), self._embedding)
        while len(self._runs) < MAX_RUNS and (chunks := self._next_chunks()):
            self.on_run(sum(len(chunk.pending) for chunk in chunks))
            self._begin(self._diagnose(chunks), self._runs)

    def _begin(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        def is_over(task: asyncio.Task[None]) -> None:
            among.discard(task)
            self._go_on()

        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(is_over)

    def _next_pending(self) -> list[PendingImage]:
        """Return what one thread embeds at once, without the images that nobody waits for any more."""
        taken: list[PendingImage] = []
        while self._waiting:
            first = self._waiting[0]
            if taken and (first.diagnoser is not taken[0].diagnoser or len(taken) == first.diagnoser.encoder.chunk):
                break
            self._waiting.popleft()
            if not first.result.done():
                taken.append(first)
        return taken

    def _next_chunks(self) -> list[EmbeddedChunk]:
        """Return what goes into the next run, if it is time for one."""
        ready = sum(len(chunk.pending) for chunk in self._ready)
        is_time = ready >= min(FULL_CHUNK, (self._under_way + 1) // 2) or not self._embedding
        taken: list[EmbeddedChunk] = []
        images = 0
        while is_time and self._ready and images < self.settings.batch_size:
            chunk = self._ready[0]
            if taken and chunk.pending[0].diagnoser is not taken[0].pending[0].diagnoser:
                break
            taken.append(self._ready.popleft())
            images += len(chunk.pending)
        return taken

    async def _embed(self, pending: list[PendingImage]) -> None:
        images, embed = [waiting.image for waiting in pending], pending[0].diagnoser.embed
        try:
            embedded = await asyncio.get_running_loop().run_in_executor(self._pool, embed, images)
        except Exception as error:  # whatever it is, everybody who waits is told, and nobody waits for ever
            for waiting in pending:
                waiting.resolve(error)
        else:
            self._ready.append(EmbeddedChunk(pending, embedded))

    async def _diagnose(self, chunks: list[EmbeddedChunk]) -> None:
        pending = [waiting for chunk in chunks for waiting in chunk.pending]
        batch = joined([chunk.embedded for chunk in chunks])
        outcomes: Sequence[Diagnosis | FailedImage | Exception]
        try:
            outcomes = await pending[0].diagnoser.adiagnose_embedded(batch)
        except Exception as error:  # as above
            outcomes = [error] * len(pending)
        for waiting, outcome in zip(pending, outcomes, strict=True):
            waiting.resolve(outcome)
