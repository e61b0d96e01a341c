"""Asks a model behind an endpoint, within a budget, and once more after a reply that is no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.conversation import Message, on_the_wire
from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice, Usage
from consilience.agents.vlm.picture_sheet import on_one_sheet
from consilience.core.errors import AnswerError
from consilience.core.settings.model_settings import EndpointSettings

if TYPE_CHECKING:
    from consilience.agents.vlm.endpoint.endpoint import Endpoint

Answered = TypeVar("Answered")


class ModelClient:
    """Asks the model that its settings describe, and counts what that costs."""

    def __init__(self, name: str, settings: EndpointSettings, budget: Budget | None = None) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            name: the agent in whose name the budget is spent.
            settings: where the model is, and what it costs.
            budget: bounds what is spent, and may be shared; None: no bound.
        """
        self.name, self.settings = name, settings
        self._budget = Budget() if budget is None or settings.is_free else budget

    @cached_property
    def _endpoint(self) -> Endpoint:
        from consilience.agents.vlm.endpoint.endpoint import Endpoint  # imports the SDK

        return Endpoint(self.settings)

    async def answered(
        self,
        record: CallRecord,
        fields: dict[str, Any],
        messages: Sequence[Message],
        read: Callable[[Sequence[CompletionChoice]], Answered],
        repair: Callable[[Sequence[CompletionChoice], AnswerError], Sequence[Message]],
        *,
        wanted: int = 1,
        detail: str = "auto",
    ) -> Answered:
        """Ask the model, and return what `read` makes of its replies.

        Args:
            record: takes the replies, and their tokens and seconds.
            fields: of the request but for its messages.
            messages: what the model is asked.
            read: turns the replies into the result; raises AnswerError where they are no answer.
            repair: returns what to append to the messages then, to ask once more.
            wanted: number of replies.
            detail: how closely pictures are looked at: auto, low or high.

        Raises:
            AgentError: the endpoint failed, or the second replies are no answer either.
            BudgetSpentError: the next request would cost more than is left.
        """
        await self._ask(record, fields, messages, wanted, detail)
        try:
            return read(record.choices)
        except AnswerError as problem:
            again = repair(record.choices, problem)
        await self._ask(record, fields, [*messages, *again], wanted, detail)
        try:
            return read(record.choices)
        except AnswerError as problem:
            raise record.unusable(problem) from problem

    async def _ask(
        self, record: CallRecord, fields: dict[str, Any], messages: Sequence[Message], wanted: int, detail: str
    ) -> None:
        """Put `wanted` replies into the record; a server that returns fewer than asked for is asked again."""

        def sent(most_pictures: int | None, detailed: bool) -> list[dict[str, Any]]:
            return on_the_wire(on_one_sheet(messages, most_pictures), detail if detailed else None)

        choices: list[CompletionChoice] = []
        while (lacking := wanted - len(choices)) > 0:
            request = fields | ({"n": lacking} if lacking > 1 else {})
            async with self._budget.request(self.name, lambda: self.cost(record.usage)):
                reply = await self._endpoint.ask(request, sent, record.usage)
            choices += reply.choices[:lacking]
        record.choices = choices

    def cost(self, usage: Usage) -> float:
        """Return the cost of these tokens and seconds in US dollars, by the prices in the settings."""
        settings = self.settings
        tokens = (
            usage.input_tokens * settings.price_per_million_input_tokens
            + usage.output_tokens * settings.price_per_million_output_tokens
        )
        return tokens / 1e6 + usage.busy_seconds * settings.price_per_gpu_second
