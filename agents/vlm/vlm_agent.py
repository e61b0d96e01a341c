"""A vision-language model behind an OpenAI-compatible endpoint as an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from consilience.agents.base import AgentInput
from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.conversation import Message, fingerprint
from consilience.agents.vlm.image_question import CaptionQuestion, ImageQuestion
from consilience.agents.vlm.label_answer import answer_schema, choices
from consilience.agents.vlm.model_client import ModelClient
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.core.errors import BudgetSpentError, ConsilienceError
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction
from consilience.core.settings.vlm_settings import VlmSettings

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
        self._respondent = ModelClient(settings.name, settings, budget)

    @classmethod
    def open(cls, settings: VlmSettings, cache: ReplyCache | None, budget: Budget) -> Self:
        """Make the agent, as every kind of model is made."""
        return cls(settings, cache, budget)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def can_revise(self) -> bool:
        return self.settings.second_look

    @property
    def debates(self) -> bool:
        return self.settings.debate

    async def predict(self, inputs: AgentInput) -> list[Prediction]:
        return await asyncio.gather(
            *(self._seen(ImageQuestion(self.settings, inputs.task, image)) for image in inputs.images)
        )

    async def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> list[Prediction]:
        cases = zip(inputs.images, first, evidence, strict=True)
        return await asyncio.gather(
            *(
                self._seen(ImageQuestion(self.settings, inputs.task, image, before, evidence))
                for image, before, evidence in cases
            )
        )

    async def caption(self, inputs: AgentInput) -> list[Prediction]:
        """Return what it sees in each image: an abstention with the words as its rationale."""
        return await asyncio.gather(
            *(self._seen(CaptionQuestion(self.settings, inputs.task, image)) for image in inputs.images)
        )

    async def _seen(self, case: ImageQuestion) -> Prediction:
        exchange = CallRecord()
        try:
            messages = case.messages()
            key = self._key(case, messages)
            if self._cache is not None and (kept := await asyncio.to_thread(self._cache.get, key)) is not None:
                return replace(kept, agent=self.name, cached=True)
            prediction = await self._respondent.answered(
                exchange,
                self._request(case),
                messages,
                case.prediction,
                case.repair,
                wanted=case.answers,
                detail=self.settings.image_detail,
            )
        except BudgetSpentError:  # no failure of this image: the run is over
            raise
        except ConsilienceError as error:
            return case.accounted(case.failed(error), exchange, self._respondent.cost(exchange.spent))
        prediction = case.accounted(prediction, exchange, self._respondent.cost(exchange.spent))
        if self._cache is not None:
            await asyncio.to_thread(self._cache.put, key, self.settings.model, case.pixels().identity, prediction)
        return prediction

    def _request(self, case: ImageQuestion) -> dict[str, Any]:
        """The fields of a request but for its messages."""
        settings = self.settings
        request: dict[str, Any] = {
            "model": settings.model,
            "temperature": settings.heat,
            "max_completion_tokens": settings.max_tokens,
        }
        if case.in_words:
            return request | {"extra_body": settings.extra_body}
        if settings.confidence == "logprob":
            request |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        enforced: dict[str, Any] = {}
        if settings.enforced == "choice":
            enforced = {"structured_outputs": {"choice": choices(case.task)}}
        elif settings.enforced == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": answer_schema(case.task)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request | {"extra_body": enforced | settings.extra_body}

    def _key(self, case: ImageQuestion, messages: list[Message]) -> str:
        settings = self.settings
        return fingerprint(
            messages,
            request=self._request(case),
            endpoint=settings.base_url,
            detail=settings.image_detail,
            confidence=settings.confidence,
            samples=case.answers,
            prompts=case.prompts,
        )
