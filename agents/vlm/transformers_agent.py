"""A vision-language model in this process as an agent, for those who run no server."""

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
from consilience.agents.vlm.image_text_model import ImageTextModel, Told, open_model
from consilience.agents.vlm.label_answer import choices
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.core.errors import AnswerError, ConsilienceError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction
from consilience.core.settings.transformers_settings import TransformersSettings

Dialogue: TypeAlias = Generator[list[Message], Any, Prediction]
"""A case from its question to its prediction: yields what is to be asked; is sent what was told, or why nothing was."""


class TransformersAgent:
    """Asks an image-text model in this process about the images, in batches.

    It asks as `VlmAgent` does and makes the same of the answers, but for `logprob`: here the probability of every
    label is exact, and nothing is written. The model is loaded when it is first asked. What fails for one image is a
    failed prediction of that image with the cause; the others go on. What was answered before is not asked again.
    """

    def __init__(self, settings: TransformersSettings, cache: ReplyCache | None = None) -> None:
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
        return self.settings.name

    @property
    def can_revise(self) -> bool:
        return self.settings.second_look

    @property
    def debates(self) -> bool:
        return self.settings.debate

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        return self._seen([ImageQuestion(self.settings, inputs.task, image) for image in inputs.images])

    def revise(self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]) -> list[Prediction]:
        task, rows = inputs.task, zip(inputs.images, first, evidence, strict=True)
        return self._seen(
            [ImageQuestion(self.settings, task, image, before, evidence) for image, before, evidence in rows]
        )

    def caption(self, inputs: AgentInput) -> list[Prediction]:
        """Return what it sees in each image: an abstention with the words as its rationale."""
        return self._seen([CaptionQuestion(self.settings, inputs.task, image) for image in inputs.images])

    def _seen(self, cases: Sequence[ImageQuestion]) -> list[Prediction]:
        """Lead all dialogues of one kind at once, a batch of questions at a time."""
        checkpoint = _files(self.settings.model)
        dialogues = [self._dialogue(case, checkpoint) for case in cases]
        predictions: dict[int, Prediction] = {}
        answers: dict[int, Told | ConsilienceError | None] = dict.fromkeys(range(len(cases)))
        while answers:
            asked: dict[int, list[Message]] = {}
            for number, reply in answers.items():
                try:
                    asked[number] = dialogues[number].send(reply)
                except StopIteration as ended:
                    predictions[number] = ended.value
            answers = dict(zip(asked, self._told(cases[0], [*asked.values()]), strict=True))
        return [predictions[number] for number in range(len(cases))]

    def _dialogue(self, case: ImageQuestion, checkpoint: list[tuple[str, int, int]]) -> Dialogue:
        exchange = CallRecord()
        try:
            messages = case.messages()
            key = self._key(case, messages, checkpoint)
            if self._cache is not None and (kept := self._cache.get(key)) is not None:
                return replace(kept, agent=self.name, cached=True)
            prediction = case.accounted((yield from self._answered(case, messages, exchange)), exchange)
        except ConsilienceError as error:
            return case.accounted(case.failed(error), exchange)
        if self._cache is not None:
            self._cache.put(key, self.settings.model, case.pixels().identity, prediction)
        return prediction

    def _answered(self, case: ImageQuestion, messages: list[Message], exchange: CallRecord) -> Dialogue:
        """The prediction; after a reply that is no answer it is asked once more, with the problem named."""
        answer = yield from _asked(messages, exchange)
        if answer.scores:
            return case.predicted(confidence.scored(answer.scores, case.task))
        try:
            return case.prediction(answer.choices)
        except AnswerError as problem:
            repair = case.repair(answer.choices, problem)
        answer = yield from _asked([*messages, *repair], exchange)
        return case.prediction(answer.choices)

    def _told(self, case: ImageQuestion, asked: Sequence[list[Message]]) -> Sequence[Told | ConsilienceError]:
        """What the model makes of each question in cases such as this, or why it makes nothing of it."""
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


def _asked(messages: list[Message], exchange: CallRecord) -> Generator[list[Message], Any, Told]:
    answer: Told | ConsilienceError = yield messages
    if isinstance(answer, ConsilienceError):
        raise answer
    exchange.choices = answer.choices
    exchange.spent.add(answer.spent)
    return answer


def _files(model: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a checkpoint's files, so that answers of an earlier one there are not taken for its
    own; empty for a model of the hub.
    """
    if not (folder := Path(model)).is_dir():
        return []
    stats = ((file.name, file.stat()) for file in folder.iterdir())
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in stats)
