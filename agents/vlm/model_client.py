"""A model behind an endpoint that is asked within a budget, and once more after a reply that is no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.chat_completion import CompletionChoice, Usage
from consilience.agents.vlm.conversation import Message, on_the_wire
from consilience.core.errors import AnswerError
from consilience.core.settings.model_settings import EndpointSettings

if TYPE_CHECKING:
    from consilience.agents.vlm.endpoint import Endpoint

Answered = TypeVar("Answered")


class ModelClient:
    """Asks the model that its settings describe."""

    def __init__(self, name: str, settings: EndpointSettings, budget: Budget | None = None) -> None:
        """`name` is who spends what is spent; None as `budget`, which several may share: no bound."""
        self.name, self.settings = name, settings
        self._budget = Budget() if budget is None or settings.is_free else budget

    @cached_property
    def _endpoint(self) -> Endpoint:
        from consilience.agents.vlm.endpoint import Endpoint  # imports the SDK

        return Endpoint(self.settings)

    async def answered(
        self,
        exchange: CallRecord,
        fields: dict[str, Any],
        messages: Sequence[Message],
        read: Callable[[Sequence[CompletionChoice]], Answered],
        repair: Callable[[Sequence[CompletionChoice], AnswerError], Sequence[Message]],
        *,
        wanted: int = 1,
        detail: str = "auto",
    ) -> Answered:
        """Return what `read` makes of the replies.

        Args:
            exchange: takes the replies and what they took.
            fields: of the request but for its messages.
            repair: what is said in addition if `read` raises AnswerError; then the model is asked once more.
            wanted: so many replies. detail: how closely pictures are looked at.

        Raises:
            AgentError: the endpoint failed, or there is no answer after all.
            BudgetSpentError: the next request would cost more than is left.
        """
        await self._ask(exchange, fields, messages, wanted, detail)
        try:
            return read(exchange.choices)
        except AnswerError as problem:
            again = repair(exchange.choices, problem)
        await self._ask(exchange, fields, [*messages, *again], wanted, detail)
        return read(exchange.choices)

    async def _ask(
        self, exchange: CallRecord, fields: dict[str, Any], messages: Sequence[Message], wanted: int, detail: str
    ) -> None:
        """Put as many replies as are wanted into the exchange; a server that ignores `n` is asked several times."""
        choices: list[CompletionChoice] = []
        while (lacking := wanted - len(choices)) > 0:
            request = fields | ({"n": lacking} if lacking > 1 else {})
            async with self._budget.request(self.name, lambda: self.cost(exchange.spent)):
                reply = await self._endpoint.ask(request, partial(on_the_wire, messages, detail), exchange.spent)
                exchange.spent.count(reply.usage)
            choices += reply.choices[:lacking]
        exchange.choices = choices

    def cost(self, spent: Usage) -> float:
        """In US dollars."""
        settings = self.settings
        tokens = (
            spent.input_tokens * settings.price_per_million_input_tokens
            + spent.output_tokens * settings.price_per_million_output_tokens
        )
        return tokens / 1e6 + spent.busy_seconds * settings.price_per_gpu_second
