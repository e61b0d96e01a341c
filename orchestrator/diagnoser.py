"""Diagnoser: an open panel that answers, from any thread or task, for one image or very many."""

from __future__ import annotations

import asyncio
import os
import queue
from collections import ChainMap, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from consilience.agents import Agent, Budget, with_answers
from consilience.agents.recorded import AnswerReader
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import DatasetError, EncoderError
from consilience.core.images import Image, ImageSource, Named, load_image
from consilience.core.render.heat_map import HeatMap
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.sources.answers import AnsweredImage
from consilience.orchestrator.answers.given_answers import GivenAnswers, open_answers, reader_of
from consilience.orchestrator.decision.policy import under_alarm
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.heat.heat_of_diagnosis import exact_heat, heat_by_occlusion
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.panel_graph import PanelGraph, Step
from consilience.orchestrator.runtime.background_loop import BackgroundLoop
from consilience.orchestrator.shift.batch_sample import TestedBatch, tested, vector_shift
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.shift_words import REASON
from consilience.orchestrator.shift.two_sample import BatchShift
from consilience.retrieval.encoders.batch_embedding import Embedded, embed, embed_many
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.memory.labelled_images import UNIT_TOLERANCE


class Diagnoser:
    """Opens a panel once and diagnoses with it. Safe from many threads and tasks; a context manager.

    It writes nothing: to keep a diagnosis, give it to `consilience.orchestrator.feedback.history.History`, as the
    commands do.

    >>> with Diagnoser.open("panel/") as diagnoser:                          # doctest: +SKIP
    ...     diagnoser.diagnose("leaf.jpg").label

    Attributes:
        threads: that load and embed images in `diagnose_many`; None: one for each core.
        known_vectors: by identity, vectors that its encoder made before; `diagnose_many` does not make them again.
        settings: with those of the panel's models.
        graph: what runs images through the panel.
        budget: what its agents and its reasoner may spend together while it is open.
    """

    threads: int | None = None
    known_vectors: Mapping[str, np.ndarray] = MappingProxyType({})

    def __init__(self, panel: Panel, settings: Settings, agents: Sequence[Agent], encoder: Encoder | None) -> None:
        self.panel = panel
        self.settings = settings = panel.with_models(settings, agents)
        self.encoder = encoder if encoder is not None else panel.encoder.open(settings.device)
        panel.encoder.check(self.encoder)
        self.budget = Budget(settings.policy.max_run_cost_usd)
        opened = panel.open_agents(settings, agents, self.budget)
        self.memory = panel.open_memory(settings.memory.url)
        self.graph = PanelGraph(panel, settings, opened, self.memory, self.encoder.fingerprint, self.budget)
        closed = f"this diagnoser is closed: open the panel '{panel.path}' again"
        self._loop = BackgroundLoop("consilience-orchestrator", closed)

    @classmethod
    def open(
        cls,
        panel: str | Path,
        *,
        answers: str | Path | None = None,
        settings: Settings | None = None,
        agents: Sequence[Agent] = (),
        encoder: Encoder | None = None,
        **arguments: Any,
    ) -> Self:
        """Open a panel.

        Args:
            panel: the folder.
            answers: a table of what agents that the panel was fitted on by such a table answered about other images;
                default: that table. Where an agent has no answer, it has failed, and the others go on.
            settings: default: from the environment and `arguments`, see `load_settings`.
            agents: those that the panel was fitted with but cannot hold itself. Those of the settings it opens by
                itself.
            encoder: instead of opening the panel's own; must have the same fingerprint.

        Raises:
            PanelError: the panel is missing, damaged or too new.
            DatasetError: `answers` cannot be used, or are of none of the panel's agents; names the row.
            UnconfirmedAddressError: it alone names an address of a model, and the user has not confirmed it.
            EncoderError: the encoder cannot be opened, or is not the panel's.
            AgentError: agents are missing, or the panel was not fitted with them, or with the reasoner that is to
                advise.
            SettingsError: the settings ask an agent otherwise than when its trust was earned, or `decision` does not
                fit the labels.
            MemoryServerError: a Chroma server is set and cannot be reached.
        """
        opened, settings = Panel.open(panel), settings_or(settings, arguments)
        if answers is not None:
            settings = with_answers(settings, answers, opened.models)
        return cls(opened, settings, agents, encoder)

    def diagnose(self, image: ImageSource) -> Diagnosis:
        """Diagnose one image: a path, URL, bytes, PIL image, array, file object or `Image`.

        Raises:
            ImageError: it cannot be read, or is over a limit.
            AllAgentsFailedError: no agent could look at it.
            BudgetSpentError: its answers would cost more than `policy.max_run_cost_usd` leaves.
        """
        loaded = self._load(image)
        sight = self.encoder.see(loaded)
        return _single(self._loop.result(self.graph.run([loaded], sight.vectors, maps=sight.maps)))

    async def adiagnose(self, image: ImageSource, *, revise: bool = False) -> Diagnosis:
        """Diagnose one image as `diagnose` does, awaited: the caller's event loop goes on meanwhile.

        Args:
            revise: if the first looks settle nothing, agents look again whether that is worth its price or not, as
                with the setting `policy.second_look: always`.
        """
        loaded = await asyncio.to_thread(self._load, image)
        sight = await asyncio.to_thread(self.encoder.see, loaded)
        run = self.graph.run([loaded], sight.vectors, eager=revise, maps=sight.maps)
        return _single(await asyncio.wrap_future(self._loop.submit(run)))

    def diagnose_many(
        self,
        images: Iterable[ImageSource] | TestedBatch,
        *,
        keep_images: bool = False,
        shift: BatchShift | None = None,
    ) -> Iterator[Diagnosis | FailedImage]:
        """Diagnose images in batches, in order; memory does not grow with their number.

        An image that cannot be read, or that no agent could look at, yields a `FailedImage`, and the others go on.
        A `Diagnosis` keeps its image only where it cannot be loaded again from its source, or with `keep_images`.
        While the answers to one batch are waited for, the next is embedded and asked about: agents behind endpoints
        are not left idle.

        Args:
            images: or what `tested` made of them.
            shift: whether the images differ from the labelled ones; None: that is found out on a sample, before the
                first result is told. Where they do, all are referred (setting `policy.on_shift`).

        Raises:
            BudgetSpentError: after the batches before, as in `diagnose`.
        """
        if not isinstance(images, TestedBatch):
            images = self.tested(images) if shift is None else TestedBatch(self._embedded(images, {}), lambda: shift)
        under_way: deque[Future[list[Diagnosis | FailedImage]]] = deque()
        try:
            for batch in images.embedded:
                under_way.append(self._loop.submit(self._run_embedded(batch, keep_images)))
                if len(under_way) > 1:
                    yield from self._under_alarm(under_way[0], images)
                    under_way.popleft()
            while under_way:
                yield from self._under_alarm(under_way[0], images)
                under_way.popleft()
        finally:  # Ctrl-C, or a caller who has seen enough: the runs must not go on and spend
            for run in under_way:
                run.cancel()

    def tested(self, images: Iterable[ImageSource]) -> TestedBatch:
        """Return a batch that tells whether its images differ from the labelled ones; see `TestedBatch`."""
        return tested(images, self._embedded, lambda: self.shift_reference)

    @cached_property
    def shift_reference(self) -> ShiftReference:
        """What new images are compared with, to see whether they differ from the labelled ones."""
        return self.panel.shift_reference()

    def embed(self, images: Sequence[ImageSource]) -> Embedded[ImageSource]:
        """Load and embed a few images in this thread, for `adiagnose_embedded`; what cannot be read is noted."""
        return embed(images, self.encoder, self._load)

    async def adiagnose_embedded(self, batch: Embedded[ImageSource]) -> list[Diagnosis | FailedImage]:
        """Diagnose what `embed` gave, in its order: for servers that embed on all cores what comes one by one.

        Every `Diagnosis` keeps its image. Errors as of `diagnose_many`.
        """
        return await asyncio.wrap_future(self._loop.submit(self._run_embedded(batch, keep_images=True)))

    def diagnose_vectors(
        self,
        vectors: np.ndarray,
        names: Sequence[str],
        made_by: Encoder | None = None,
        *,
        shift: BatchShift | None = None,
    ) -> Iterator[Diagnosis | FailedImage]:
        """Diagnose images of which only vectors are known, float32 (n, d), rows of unit length.

        Args:
            names: n, what to call the images.
            made_by: the encoder that made the vectors; None: the caller vouches that it is the panel's.
            shift: as for `diagnose_many`.

        Raises:
            EncoderError: they are of another encoder, or not as long as the panel's.
            DatasetError: not as many names as vectors, or a vector that is not finite or not of unit length.
        """
        if made_by is not None:
            self.panel.encoder.check(made_by)
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.encoder.dimension:
            raise EncoderError(f"vectors of shape {vectors.shape} do not fit the panel's (n, {self.encoder.dimension})")
        if len(names) != len(vectors):
            raise DatasetError(f"{len(names)} names for {len(vectors)} vectors")
        lengths = np.linalg.norm(vectors, axis=1)
        if len(wrong := np.flatnonzero(~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))):  # NaN, too
            raise DatasetError(f"the vector of '{names[wrong[0]]}' has length {lengths[wrong[0]]:.6g}, not 1: scale it")
        if shift is None:
            shift = vector_shift(lambda: self.shift_reference, vectors, vector_identity)
        reason = self._reason(shift)
        for start in range(0, len(vectors), self.settings.batch_size):
            part = slice(start, start + self.settings.batch_size)
            results = self._loop.result(self.graph.run([None] * len(names[part]), vectors[part], names[part]))
            yield from (_referred(result, reason) for result in results)

    def diagnose_answers(self, answers: GivenAnswers) -> Iterator[Diagnosis | FailedImage]:
        """Diagnose images of which only the agents' answers are known, in the order in which they first stand.

        Memory does not grow with their number. Answers of agents that the panel does not know are left out.

        Args:
            answers: in any of the forms that `fit_answers` takes; a truth is not needed, and not looked at.

        Raises:
            DatasetError: they cannot be used, which is found out before the first is diagnosed; or they are of none of
                the panel's agents, or the panel was fitted on images.
        """
        with open_answers(answers) as source:
            yield from self.diagnose_answered(source.images(), reader_of(self.panel, source))

    def diagnose_answered(
        self, images: Iterable[AnsweredImage], reader: AnswerReader
    ) -> Iterator[Diagnosis | FailedImage]:
        """Diagnose such images in batches, in their order; `reader`: see `given_answers.reader_of`."""
        images = iter(images)
        while batch := list(islice(images, self.settings.batch_size)):
            yield from self._loop.result(self.graph.run_answered(batch, reader))

    def stream(self, image: ImageSource) -> Iterator[Step | Diagnosis | FailedImage]:
        """Diagnose one image and tell every step as it happens; the diagnosis comes last."""
        loaded = self._load(image)
        sight = self.encoder.see(loaded)
        steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        result = self._loop.submit(self.graph.run([loaded], sight.vectors, on_step=steps.put, maps=sight.maps))
        result.add_done_callback(lambda _: steps.put(None))
        while (step := steps.get()) is not None:
            yield step
        yield from result.result()

    def heat(self, diagnosis: Diagnosis, label: str | None = None, other: str | None = None) -> HeatMap:
        """Return which regions of the image speak for a label, and which for another: `HeatMap.for_label`.

        By class activation, exact, for the linear heads (probe, gaussian, self-trained) that count in the diagnosis and
        read EfficientNet-Lite; the map is the sum of theirs with their weights. It says nothing of the other agents. It
        takes next to no time for a diagnosis of `diagnose`; that of a batch is looked at by the encoder once more.

        Args:
            diagnosis: by this panel.
            label: what is asked about; None: the diagnosis's own.
            other: what it is compared with; None: the most probable one beside it.

        Raises:
            DatasetError: the panel has no such label.
            HeatMapError: no agent can tell where it looked (`occlusion_heat` asks any), the panel knows no image but a
                vector or answers alone, or the diagnosis is another panel's, or of before it got other labels.
            ImageError: the image was not kept and cannot be loaded again.
        """
        return exact_heat(self.panel, self.graph.agents, self.encoder, diagnosis, label, other)

    def occlusion_heat(
        self, diagnosis: Diagnosis, label: str | None = None, other: str | None = None, *, agents: Sequence[str] = ()
    ) -> HeatMap:
        """Return the same as `heat` by asking again with 49 parts of the image blurred, one after the other.

        Args:
            diagnosis, label, other: as of `heat`.
            agents: whom to ask, 49 times each; none: all heads on features, which cost nothing. Those that must be paid
                are asked only if they are named.

        Raises:
            AgentError: the panel has no such agent, or none of them counts in the diagnosis and answers.
            BudgetSpentError: as in `diagnose`. DatasetError, HeatMapError, ImageError: as of `heat`.
        """
        return self._loop.result(
            heat_by_occlusion(
                self.panel, self.graph.agents, self.encoder, self.memory, self.settings, diagnosis, label, other, agents
            )
        )

    @property
    def weigher(self) -> Weigher:
        """Return what weighs predictions, and could weigh recorded ones anew."""
        return self.graph.weigher

    def close(self) -> None:
        """Let go of the image memory and of connections, and give up what is under way. A second call does nothing."""
        self._loop.close()
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _load(self, source: ImageSource) -> Image:
        image = load_image(source, self.settings.images)
        if self.graph.bounds is not None:
            _ = image.measures  # here, in the thread that decoded it
        return image

    def _embedded(
        self, images: Iterable[ImageSource], known: MutableMapping[str, np.ndarray]
    ) -> Generator[Embedded[ImageSource], None, None]:
        size, workers, all_known = self.settings.batch_size, self.threads, ChainMap(known, {**self.known_vectors})
        return embed_many(images, self.encoder, load=self._load, batch_size=size, workers=workers, known=all_known)

    def _under_alarm(
        self, run: Future[list[Diagnosis | FailedImage]], batch: TestedBatch
    ) -> Iterator[Diagnosis | FailedImage]:
        """Yield the results of a run, referred where its batch differs: which is found out while the agents work."""
        reason = self._reason(batch.shift)
        yield from (_referred(result, reason) for result in run.result())

    def _reason(self, shift: BatchShift) -> str:
        """Return why nothing of a batch is settled; empty if that is not so."""
        return REASON if shift.alarm and self.settings.policy.on_shift == "refer" else ""

    async def _run_embedded(self, batch: Embedded[ImageSource], keep_images: bool) -> list[Diagnosis | FailedImage]:
        """Yield what becomes of each source of a batch."""
        readable = [image for image in batch.images if image is not None]
        results = iter(await self.graph.run(readable, batch.vectors))
        return [
            FailedImage(_name(source), error)
            if error
            else _without_image(next(results), keep_images or not _is_file(source))
            for source, error in zip(batch.sources, batch.errors, strict=True)
        ]


def diagnose(image: ImageSource, *, panel: str | Path, **arguments: Any) -> Diagnosis:
    """Diagnose one image with the panel in a folder; see `Diagnoser.open` and `Diagnoser.diagnose`.

    It opens the panel each time: for more than one image open a `Diagnoser`. Nothing is kept of it.
    """
    with Diagnoser.open(panel, **arguments) as diagnoser:
        return diagnoser.diagnose(image)


def _single(results: list[Diagnosis | FailedImage]) -> Diagnosis:
    (result,) = results
    if isinstance(result, FailedImage):
        raise result.error
    return result


def _referred(result: Diagnosis | FailedImage, reason: str) -> Diagnosis | FailedImage:
    return under_alarm(result, reason) if reason and isinstance(result, Diagnosis) else result


def _without_image(result: Diagnosis | FailedImage, keep: bool) -> Diagnosis | FailedImage:
    if isinstance(result, Diagnosis) and not keep:
        object.__setattr__(result, "image", None)
    return result


def _is_file(source: ImageSource) -> bool:
    """Whether an image can be loaded again from its source: addresses change, and lose their query in a record."""
    return isinstance(source, os.PathLike) or (isinstance(source, str) and "://" not in source)


def _name(source: ImageSource) -> str:
    if isinstance(source, Named):
        return source.name
    return str(source) if isinstance(source, str | Path) else type(source).__name__
