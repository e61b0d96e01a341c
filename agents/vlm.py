"""A vision-language model behind an OpenAI-compatible endpoint as an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from consilience.agents import confidence
from consilience.agents.answer import Answer, AnswerError, answer_schema, choices, parse_answer, parse_label
from consilience.agents.base import Views
from consilience.agents.conversation import (
    Message,
    fingerprint,
    first_messages,
    on_the_wire,
    repair_messages,
    second_messages,
)
from consilience.agents.reply import Choice, Spent
from consilience.agents.reply_cache import ReplyCache
from consilience.errors import AgentError, ConsilienceError
from consilience.evidence import Evidence
from consilience.images import Image
from consilience.model_settings import VlmSettings
from consilience.prediction import Prediction, Stage
from consilience.prompts import load_prompt
from consilience.task import Task

if TYPE_CHECKING:
    from consilience.agents.endpoint import Endpoint

MOST_RAW = 20_000
"""Characters of a model's replies that a prediction keeps."""

ALTERNATIVES = 20
"""Log probabilities asked for at each token: as many as OpenAI and vLLM give."""


@dataclass(frozen=True)
class _Case:
    """One image to look at; again, where there is a first prediction."""

    task: Task
    image: Image | None
    first: Prediction | None = None
    evidence: Evidence | None = None

    @property
    def stage(self) -> Stage:
        return "first" if self.first is None else "second"


@dataclass
class _Exchange:
    """The last replies to one case, and what all took."""

    spent: Spent
    choices: list[Choice]


class VlmAgent:
    """Asks a vision-language model about each image, several at once.

    What fails for one image, an endpoint's error or a reply that is no answer, is a failed prediction of that image
    with the cause, the raw reply and what it cost; the others go on. A kept answer costs no request: its prediction
    is as it was, with what it took then.
    """

    def __init__(self, settings: VlmSettings, cache: ReplyCache | None = None) -> None:
        self.settings = settings
        self._cache = cache
        self._endpoint: Endpoint | None = None

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def looks_again(self) -> bool:
        return self.settings.second_look

    @property
    def debates(self) -> bool:
        return self.settings.debate

    async def look(self, views: Views) -> list[Prediction]:
        return await asyncio.gather(*(self._seen(_Case(views.task, image)) for image in views.images))

    async def look_again(
        self, views: Views, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> list[Prediction]:
        cases = zip(views.images, first, evidence, strict=True)
        return await asyncio.gather(
            *(self._seen(_Case(views.task, image, before, found)) for image, before, found in cases)
        )

    async def _seen(self, case: _Case) -> Prediction:
        exchange = _Exchange(Spent(), [])
        try:
            if case.image is None:
                raise AgentError(f"'{self.name}' needs pixels, and of this image only the vector was given")
            messages = self._messages(case, case.image)
            key = self._key(case, messages)
            if self._cache is not None and (kept := await asyncio.to_thread(self._cache.get, key)) is not None:
                return replace(kept, agent=self.name, cached=True)
            prediction = self._accounted(case, await self._answered(case, messages, exchange), exchange)
        except ConsilienceError as error:
            return self._accounted(case, Prediction(self.name, case.stage, error=str(error)), exchange)
        if self._cache is not None:
            await asyncio.to_thread(self._cache.put, key, self.settings.model, case.image.identity, prediction)
        return prediction

    def _messages(self, case: _Case, image: Image) -> list[Message]:
        settings, task = self.settings, case.task
        messages = first_messages(load_prompt("look", task), task, image, settings.image_side, settings.label_only)
        if case.first is None or case.evidence is None:
            return messages
        return messages + second_messages(
            load_prompt("second-look", task),
            case.first,
            case.evidence,
            settings.neighbours_shown,
            settings.neighbour_side,
            settings.label_only,
        )

    async def _answered(self, case: _Case, messages: list[Message], exchange: _Exchange) -> Prediction:
        """The prediction; after a reply that is no answer it is asked once more, with the problem named."""
        await self._ask(case, messages, exchange)
        try:
            return self._prediction(case, exchange.choices)
        except AnswerError as problem:
            repair = repair_messages(load_prompt("repair", case.task), exchange.choices[0].text, str(problem))
        await self._ask(case, [*messages, *repair], exchange)
        return self._prediction(case, exchange.choices)

    async def _ask(self, case: _Case, messages: list[Message], exchange: _Exchange) -> None:
        """Put as many answers as are wanted into the exchange; a server that ignores `n` is asked several times."""
        if self._endpoint is None:
            from consilience.agents.endpoint import Endpoint  # imports the SDK

            self._endpoint = Endpoint(self.settings)
        found: list[Choice] = []
        sent = partial(on_the_wire, messages, self.settings.image_detail)
        wanted = self.settings.samples if self.settings.confidence == "sampled" else 1
        while (lacking := wanted - len(found)) > 0:
            fields = self._request(case) | ({"n": lacking} if lacking > 1 else {})
            reply = await self._endpoint.ask(fields, sent, exchange.spent)
            exchange.spent.count(reply.usage)
            found += reply.choices[:lacking]
        exchange.choices = found

    def _request(self, case: _Case) -> dict[str, Any]:
        """The fields of a request but for its messages."""
        settings = self.settings
        usual = 1.0 if settings.confidence == "sampled" else 0.0
        request: dict[str, Any] = {
            "model": settings.model,
            "temperature": usual if settings.temperature is None else settings.temperature,
            "max_completion_tokens": settings.max_tokens,
        }
        if settings.confidence == "logprob":
            request |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        enforced: dict[str, Any] = {}
        if settings.enforced == "choice":
            enforced = {"structured_outputs": {"choice": choices(case.task)}}
        elif settings.enforced == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": answer_schema(case.task, case.stage)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request | {"extra_body": enforced | settings.extra_body}

    def _prediction(self, case: _Case, found: Sequence[Choice]) -> Prediction:
        """What the replies say. Raises AnswerError if none is an answer, AgentError if there is no point in asking."""
        answers: list[Answer] = []
        problems: list[AgentError] = []
        for choice in found:
            try:
                answers.append(self._answer(case, choice))
            except AgentError as problem:
                problems.append(problem)
        if not answers:
            raise problems[0]
        answer, stated = answers[0], None
        if self.settings.confidence == "sampled":
            shares = confidence.sampled([one.label for one in answers], case.task)
            leading = max(shares, key=shares.__getitem__) if shares else None
            answer = next(one for one in answers if one.label == leading)
        elif self.settings.confidence == "logprob":
            shares = confidence.logprob(found[0].positions, case.task)
        else:
            shares, stated = confidence.verbalised(answer, case.task), answer.confidence
        return Prediction(
            self.name,
            case.stage,
            probabilities=shares,
            confidence=stated if shares else None,
            rationale=answer.rationale,
            abstained=shares is None,
        )

    def _answer(self, case: _Case, choice: Choice) -> Answer:
        text = choice.text
        try:
            if self.settings.label_only:
                return Answer(parse_label(text, case.task))
            return parse_answer(text, case.task, case.first)
        except AnswerError as problem:
            if choice.cut_off:  # asked again, it would be again
                raise AgentError(f"the reply is no answer: {choice.cut_off}") from problem
            raise

    def _accounted(self, case: _Case, prediction: Prediction, exchange: _Exchange) -> Prediction:
        """With the replies as they came and what they took."""
        settings, spent = self.settings, exchange.spent
        cost = (
            spent.input_tokens * settings.price_per_million_input_tokens
            + spent.output_tokens * settings.price_per_million_output_tokens
        ) / 1e6 + spent.busy_seconds * settings.price_per_gpu_second
        said = [choice.message.content or choice.message.refusal or "" for choice in exchange.choices]
        return replace(
            prediction,
            cost_usd=cost,
            tokens=spent.input_tokens + spent.output_tokens,
            seconds=spent.seconds,
            raw="\n".join(said)[:MOST_RAW] if exchange.choices else None,
            prompt=_versions(case),
        )

    def _key(self, case: _Case, messages: list[Message]) -> str:
        settings = self.settings
        return fingerprint(
            messages,
            request=self._request(case),
            endpoint=settings.base_url,
            detail=settings.image_detail,
            confidence=settings.confidence,
            samples=settings.samples if settings.confidence == "sampled" else 1,
            prompts=_versions(case),
        )


def _versions(case: _Case) -> str:
    names = ["look", *(["second-look"] if case.stage == "second" else []), "repair"]
    return ", ".join(f"{name} {load_prompt(name, case.task).version}" for name in names)
