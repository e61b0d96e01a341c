"""A vision-language model behind an OpenAI-compatible endpoint as an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from consilience.agents.answer import answer_schema, choices
from consilience.agents.base import Views
from consilience.agents.budget import Budget
from consilience.agents.conversation import Message, fingerprint, on_the_wire
from consilience.agents.looking import Case, Exchange
from consilience.agents.reply import Choice, Spent
from consilience.agents.reply_cache import ReplyCache
from consilience.errors import AnswerError, BudgetSpentError, ConsilienceError
from consilience.evidence import Evidence
from consilience.model_settings import VlmSettings
from consilience.prediction import Prediction

if TYPE_CHECKING:
    from consilience.agents.endpoint import Endpoint

ALTERNATIVES = 20
"""Log probabilities asked for at each token: as many as OpenAI and vLLM give."""


class VlmAgent:
    """Asks a vision-language model about each image, several at once.

    What fails for one image, an endpoint's error or a reply that is no answer, is a failed prediction of that image
    with the cause, the raw reply and what it cost; the others go on. A kept answer costs no request: its prediction
    is as it was, with what it took then. A budget that is spent ends the look with a BudgetSpentError.
    """

    def __init__(self, settings: VlmSettings, cache: ReplyCache | None = None, budget: Budget | None = None) -> None:
        """None as `cache`: no answer is kept. As `budget`, which agents may share: no bound."""
        self.settings = settings
        self._cache = cache
        self._budget = Budget() if budget is None or settings.is_free else budget
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
        return await asyncio.gather(*(self._seen(Case(self.settings, views.task, image)) for image in views.images))

    async def look_again(
        self, views: Views, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> list[Prediction]:
        cases = zip(views.images, first, evidence, strict=True)
        return await asyncio.gather(
            *(self._seen(Case(self.settings, views.task, image, before, found)) for image, before, found in cases)
        )

    async def _seen(self, case: Case) -> Prediction:
        exchange = Exchange()
        try:
            messages = case.messages()
            key = self._key(case, messages)
            if self._cache is not None and (kept := await asyncio.to_thread(self._cache.get, key)) is not None:
                return replace(kept, agent=self.name, cached=True)
            prediction = self._accounted(case, await self._answered(case, messages, exchange), exchange)
        except BudgetSpentError:  # no failure of this image: the run is over
            raise
        except ConsilienceError as error:
            return self._accounted(case, case.failed(error), exchange)
        if self._cache is not None:
            await asyncio.to_thread(self._cache.put, key, self.settings.model, case.pixels().identity, prediction)
        return prediction

    async def _answered(self, case: Case, messages: list[Message], exchange: Exchange) -> Prediction:
        """The prediction; after a reply that is no answer it is asked once more, with the problem named."""
        await self._ask(case, messages, exchange)
        try:
            return case.prediction(exchange.choices)
        except AnswerError as problem:
            repair = case.repair(exchange.choices, problem)
        await self._ask(case, [*messages, *repair], exchange)
        return case.prediction(exchange.choices)

    async def _ask(self, case: Case, messages: list[Message], exchange: Exchange) -> None:
        """Put as many answers as are wanted into the exchange; a server that ignores `n` is asked several times."""
        if self._endpoint is None:
            from consilience.agents.endpoint import Endpoint  # imports the SDK

            self._endpoint = Endpoint(self.settings)
        found: list[Choice] = []
        sent = partial(on_the_wire, messages, self.settings.image_detail)
        while (lacking := self.settings.answers - len(found)) > 0:
            fields = self._request(case) | ({"n": lacking} if lacking > 1 else {})
            async with self._budget.request(self.name, lambda: self._cost(exchange.spent)):
                reply = await self._endpoint.ask(fields, sent, exchange.spent)
                exchange.spent.count(reply.usage)
            found += reply.choices[:lacking]
        exchange.choices = found

    def _request(self, case: Case) -> dict[str, Any]:
        """The fields of a request but for its messages."""
        settings = self.settings
        request: dict[str, Any] = {
            "model": settings.model,
            "temperature": settings.heat,
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

    def _accounted(self, case: Case, prediction: Prediction, exchange: Exchange) -> Prediction:
        return case.accounted(prediction, exchange, self._cost(exchange.spent))

    def _cost(self, spent: Spent) -> float:
        """In US dollars."""
        settings = self.settings
        tokens = (
            spent.input_tokens * settings.price_per_million_input_tokens
            + spent.output_tokens * settings.price_per_million_output_tokens
        )
        return tokens / 1e6 + spent.busy_seconds * settings.price_per_gpu_second

    def _key(self, case: Case, messages: list[Message]) -> str:
        settings = self.settings
        return fingerprint(
            messages,
            request=self._request(case),
            endpoint=settings.base_url,
            detail=settings.image_detail,
            confidence=settings.confidence,
            samples=settings.answers,
            prompts=case.prompts,
        )
