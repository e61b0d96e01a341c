"""An agent that asks a vision-language model behind an OpenAI-compatible endpoint."""

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
    with the cause, the raw reply and what it cost; the others go on. An answer in the cache costs no request: its
    prediction is as it was, with the cost, tokens and seconds of then.
    """

    def __init__(self, settings: VlmSettings, cache: ReplyCache | None = None, budget: Budget | None = None) -> None:
        """Make the agent; None as `cache`: no answer is kept; None as `budget`, which agents may share: no bound."""
        self.settings = settings
        self._cache = cache
        self._client = ModelClient(settings.name, settings, budget)

    @classmethod
    def open(cls, settings: VlmSettings, cache: ReplyCache | None, budget: Budget) -> Self:
        """Make the agent, as every kind of model is made."""
        return cls(settings, cache, budget)

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

    async def predict(self, inputs: AgentInput) -> list[Prediction]:
        """Return a prediction for each image, in order; they are asked about at once.

        Raises:
            BudgetSpentError: the next request would cost more than is left.
        """
        return await asyncio.gather(
            *(self._seen(ImageQuestion(self.settings, inputs.task, image)) for image in inputs.images)
        )

    async def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> list[Prediction]:
        """Return a new prediction for each image, in order, with its first one and the evidence in hand.

        Raises:
            BudgetSpentError: the next request would cost more than is left.
        """
        cases = zip(inputs.images, first, evidence, strict=True)
        return await asyncio.gather(
            *(
                self._seen(ImageQuestion(self.settings, inputs.task, image, before, evidence))
                for image, before, evidence in cases
            )
        )

    async def caption(self, inputs: AgentInput) -> list[Prediction]:
        """Return an abstention for each image, in order, whose rationale is the model's description of it.

        Raises:
            BudgetSpentError: the next request would cost more than is left.
        """
        return await asyncio.gather(
            *(self._seen(CaptionQuestion(self.settings, inputs.task, image)) for image in inputs.images)
        )

    async def _seen(self, case: ImageQuestion) -> Prediction:
        """Return the prediction for one question, from the cache or by asking; a failed one where that fails."""
        record = CallRecord()
        try:
            messages = case.messages()
            key = self._key(case, messages)
            if self._cache is not None and (kept := await asyncio.to_thread(self._cache.get, key)) is not None:
                return replace(kept, agent=self.name, cached=True)
            prediction = await self._client.answered(
                record,
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
            return case.accounted(case.failed(error), record, self._client.cost(record.usage))
        prediction = case.accounted(prediction, record, self._client.cost(record.usage))
        if self._cache is not None:
            await asyncio.to_thread(self._cache.put, key, self.settings.model, case.pixels().identity, prediction)
        return prediction

    def _request(self, case: ImageQuestion) -> dict[str, Any]:
        """Return the fields of a request but for its messages."""
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
        """Return the key of an answer in the cache: a hash of all that decides it."""
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
