"""Engines: what turns labelled images into rows. The run, its folder and its figures do not know which one works.

`LocalEngine` is a `Diagnoser` in this process, which uses all cores for images. `ProcessEngine` shares out vectors to
processes: there the orchestrator itself is what takes the time, and it keeps one core busy. `ClusterEngine` has
workers on Ray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

import numpy as np

from consilience.agents.recorded import AnswerReader
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import DatasetError, ImageError
from consilience.core.images import ImageSource
from consilience.core.prediction import Prediction
from consilience.core.sources.stored import openable
from consilience.evals.engines.leaks import LeftOut, NameOfKnownGroup, WatchfulDiagnoser
from consilience.evals.rows import LEFT_OUT, Decided, decided
from consilience.evals.source import SourceImage
from consilience.orchestrator.answers.given_answers import answer_identity
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.shift.two_sample import NOT_TESTED, BatchShift


class Engine(Protocol):
    """Decides labelled images."""

    def decide(self, cases: Iterable[SourceImage]) -> Iterator[list[Decided]]:
        """Yield batches of rows, in any order; cases are taken as they are needed."""
        ...


class LocalEngine:
    """Decides in this process, in batches of the settings' size.

    Args:
        shift: whether all images together differ from the labelled ones.
        reader: of the agents' answers, where these are what is known of images.
    """

    def __init__(
        self, diagnoser: Diagnoser, shift: BatchShift = NOT_TESTED, reader: AnswerReader | None = None
    ) -> None:
        self._diagnoser, self._shift, self._reader = diagnoser, shift, reader
        watchful = diagnoser if isinstance(diagnoser, WatchfulDiagnoser) else None
        self._is_leak = diagnoser.panel.has_learned_from if watchful is None else watchful.is_leak
        are_given = diagnoser.panel.grouping.how == "given"
        self._groups = frozenset(diagnoser.panel.labelled_images.groups) if are_given else frozenset()
        self._calibrators = {(member.agent, member.stage): member.calibrator for member in diagnoser.panel.members}
        self._drops_leaks = watchful is not None and watchful.drops_leaks

    def decide(self, cases: Iterable[SourceImage]) -> Iterator[list[Decided]]:
        """Yield batches of rows in the order of the cases."""
        rows = self._rows(iter(cases))
        while batch := list(islice(rows, self._diagnoser.settings.batch_size)):
            yield batch

    def _rows(self, cases: Iterator[SourceImage]) -> Iterator[Decided]:
        first = next(cases, None)
        if first is None:
            return
        if first.vector is not None or first.answered is not None:
            yield from self._without_images(_again(first, cases))
            return
        under_way: deque[SourceImage] = deque()

        def images() -> Iterator[ImageSource]:
            for case in _again(first, cases):
                under_way.append(case)
                yield NameOfKnownGroup(case.name) if self._drops_leaks and self._is_known(case) else openable(case.name)

        for result in self._diagnoser.diagnose_many(images(), shift=self._shift):
            yield self._decided(under_way.popleft(), result)

    def _without_images(self, cases: Iterator[SourceImage]) -> Iterator[Decided]:
        while batch := list(islice(cases, self._diagnoser.settings.batch_size)):
            refused = [self._refusal(case) for case in batch]
            taken = [case for case, error in zip(batch, refused, strict=True) if error is None]
            results = iter(self._diagnosed(taken))
            for case, error in zip(batch, refused, strict=True):
                yield self._decided(case, next(results) if error is None else FailedImage(case.name, error))

    def _diagnosed(self, cases: Sequence[SourceImage]) -> Iterable[Diagnosis | FailedImage]:
        if not cases:
            return ()
        if self._reader is not None:
            answered = (case.answered for case in cases if case.answered is not None)
            return self._diagnoser.diagnose_answered(answered, self._reader)
        vectors = np.stack([case.vector for case in cases if case.vector is not None])
        return self._diagnoser.diagnose_vectors(vectors, [case.name for case in cases], shift=self._shift)

    def _refusal(self, case: SourceImage) -> ImageError | DatasetError | None:
        if case.vector is None:
            identity = answer_identity(case.name)
        elif np.isfinite(case.vector[0]):
            identity = vector_identity(case.vector)
        else:
            return DatasetError(f"the vector of '{case.name}' holds NaN or infinity, or only zeros: make it again")
        return LeftOut(LEFT_OUT) if self._drops_leaks and (self._is_known(case) or self._is_leak(identity)) else None

    def _decided(self, case: SourceImage, result: Diagnosis | FailedImage) -> Decided:
        if isinstance(result, FailedImage):
            return decided(case, result, leak=isinstance(result.error, LeftOut) or self._is_known(case))
        if any(prediction.stage == "second" for prediction in result.predictions):
            result = replace(result, predictions=tuple(map(self._calibrated, result.predictions)))
        return decided(case, result, leak=self._is_known(case) or self._is_leak(result.identity))

    def _is_known(self, case: SourceImage) -> bool:
        """Return whether the panel has learned from the group that a manifest or the panel's pattern names."""
        return case.group is not None and case.group in self._groups

    def _calibrated(self, prediction: Prediction) -> Prediction:
        """Calibrate a first look that a second one replaced: it was not weighed, but is judged all the same."""
        calibrator = self._calibrators.get((prediction.agent, prediction.stage))
        if prediction.calibrated is not None or prediction.probabilities is None or calibrator is None:
            return prediction
        shares = calibrator(np.array([list(prediction.probabilities.values())]))[0].tolist()
        return replace(prediction, calibrated=dict(zip(prediction.probabilities, shares, strict=True)))


def _again(first: SourceImage, others: Iterator[SourceImage]) -> Iterator[SourceImage]:
    yield first
    yield from others
