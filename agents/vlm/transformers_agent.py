"""An agent that runs a vision-language model in this process, for those who run no server."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

from consilience.agents.base import AgentInput
from consilience.agents.vlm import confidence
from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.conversation import Message, fingerprint
from consilience.agents.vlm.image_question import CaptionQuestion, ImageQuestion
from consilience.agents.vlm.image_text_model import ImageTextModel, ModelReply, open_model
from consilience.agents.vlm.label_answer import choices
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.core.errors import AnswerError, ConsilienceError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction
from consilience.core.settings.transformers_settings import TransformersSettings

Dialogue: TypeAlias = Generator[list[Message], Any, Prediction]
"""The course of one question: yields messages, is sent the model's reply or an error, returns the prediction."""


class TransformersAgent:
    """Asks an image-text model in this process about the images, in batches.

    It asks as `VlmAgent` does and reads the answers alike, but for `logprob`: here the probability of every label is
    exact, and no text is generated. The model is loaded when it is first asked. What fails for one image is a failed
    prediction of that image with the cause; the others go on. What was answered before is not asked again.
    """

    def __init__(self, settings: TransformersSettings, cache: ReplyCache | None = None) -> None:
        """Make the agent; None as `cache`: no answer is kept."""
        self.settings = settings
        self._cache = cache
        self._model: ImageTextModel | None = None

    @classmethod
    def open(cls, settings: TransformersSettings, cache: ReplyCache | None, budget: Budget) -> Self:
        """Make the agent, as every kind of model is made; it costs nothing, so no budget binds it."""
        del budget
        return cls(settings, cache)

    @property
    def name(self) -> str:
        """The agent's name, from its settings."""
        return self.settings.name

    @property
    def can_revise(self) -> bool:
        """Whether it takes a second look, from its settings."""
        return self.settings.second_look

    @property
    def debates(self) -> bool:
        """Whether its second look is told what the other agents answered, from its settings."""
        return self.settings.debate

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        """Return a prediction for each image, in order; a failed one where that fails."""
        return self._seen([ImageQuestion(self.settings, inputs.task, image) for image in inputs.images])

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        """Return a new prediction for each image, in order, with its first one and the evidence in hand."""
        task, rows = inputs.task, zip(inputs.images, first, evidence, strict=True)
        return self._seen(
            [ImageQuestion(self.settings, task, image, before, evidence) for image, before, evidence in rows]
        )

    def caption(self, inputs: AgentInput) -> list[Prediction]:
        """Return an abstention for each image, in order, whose rationale is the model's description of it."""
        return self._seen([CaptionQuestion(self.settings, inputs.task, image) for image in inputs.images])

    def _seen(self, cases: Sequence[ImageQuestion]) -> list[Prediction]:
        """Return the predictions of questions of one kind, asked together, a batch at a time."""
        checkpoint = _files(self.settings.model)
        dialogues = [self._dialogue(case, checkpoint) for case in cases]
        predictions: dict[int, Prediction] = {}
        answers: dict[int, ModelReply | ConsilienceError | None] = dict.fromkeys(range(len(cases)))
        while answers:
            asked: dict[int, list[Message]] = {}
            for number, reply in answers.items():
                try:
                    asked[number] = dialogues[number].send(reply)
                except StopIteration as ended:
                    predictions[number] = ended.value
            answers = dict(zip(asked, self._replies(cases[0], [*asked.values()]), strict=True))
        return [predictions[number] for number in range(len(cases))]

    def _dialogue(self, case: ImageQuestion, checkpoint: list[tuple[str, int, int]]) -> Dialogue:
        """Return the prediction for one question, from the cache or by asking; a failed one where that fails."""
        record = CallRecord()
        try:
            messages = case.messages()
            key = self._key(case, messages, checkpoint)
            if self._cache is not None and (kept := self._cache.get(key)) is not None:
                return replace(kept, agent=self.name, cached=True)
            prediction = case.accounted((yield from self._answered(case, messages, record)), record)
        except ConsilienceError as error:
            return case.accounted(case.failed(error), record)
        if self._cache is not None:
            self._cache.put(key, self.settings.model, case.pixels().identity, prediction)
        return prediction

    def _answered(self, case: ImageQuestion, messages: list[Message], record: CallRecord) -> Dialogue:
        """Return the prediction; after a reply that is no answer, ask once more and say what is wrong with it."""
        answer = yield from _asked(messages, record)
        if answer.scores:
            return case.predicted(confidence.scored(answer.scores, case.task))
        try:
            return case.prediction(answer.choices)
        except AnswerError as problem:
            repair = case.repair(answer.choices, problem)
        answer = yield from _asked([*messages, *repair], record)
        try:
            return case.prediction(answer.choices)
        except AnswerError as problem:
            raise record.unusable(problem) from problem

    def _replies(self, case: ImageQuestion, asked: Sequence[list[Message]]) -> Sequence[ModelReply | ConsilienceError]:
        """Return the model's replies or scores for each question of the kind of `case`, or the error of each."""
        settings = self.settings
        if not asked:
            return []
        try:
            self._model = self._model or open_model(settings)
        except ConsilienceError as error:
            return [error] * len(asked)
        if settings.confidence == "logprob" and not case.in_words:
            return self._model.scores(asked, choices(case.task), settings.batch_size)
        return self._model.replies(asked, case.answers, settings.heat, settings.max_tokens, settings.batch_size)

    def _key(self, case: ImageQuestion, messages: list[Message], checkpoint: list[tuple[str, int, int]]) -> str:
        """Return the key of an answer in the cache: a hash of all that decides it."""
        settings = self.settings
        return fingerprint(
            messages,
            model=settings.model,
            checkpoint=checkpoint,
            dtype=settings.dtype,
            confidence=settings.confidence,
            answers=case.answers,
            temperature=settings.heat,
            max_tokens=settings.max_tokens,
            prompts=case.prompts,
            **({"adapter": _files(settings.adapter)} if settings.adapter else {}),
        )


def _asked(messages: list[Message], record: CallRecord) -> Generator[list[Message], Any, ModelReply]:
    """Yield the messages; return the reply to them, counted in the record. Raises the error if one came instead."""
    answer: ModelReply | ConsilienceError = yield messages
    if isinstance(answer, ConsilienceError):
        raise answer
    record.choices = answer.choices
    record.usage.add(answer.usage)
    return answer


def _files(model: str) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of a checkpoint's files; empty for a model of the hub.

    As part of the cache key they keep answers of an earlier checkpoint in the same folder from being reused.
    """
    if not (folder := Path(model)).is_dir():
        return []
    stats = ((file.name, file.stat()) for file in folder.iterdir())
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in stats)
