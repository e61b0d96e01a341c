"""Answer a person's question about a diagnosis with a language model, which reads its record and no pixels.

Everything in the question is quoted, and an answer with a figure that the record lacks is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consilience.agents import Budget
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.conversation import Message, repair_messages
from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice
from consilience.agents.vlm.model_client import ModelClient
from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import AgentError, AnswerError, ConsilienceError
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.task import Task
from consilience.orchestrator.decision.case_summary import REASONER, CaseSummary
from consilience.orchestrator.reasoner.output import invented_figures
from consilience.orchestrator.reasoner.rationale_check import check_words
from consilience.prompts import clean, label_lines, load_prompt, quoted

log = logging.getLogger(__name__)

MAX_ANSWER_CHARACTERS = 1200
"""Characters of an answer that are shown."""


class FollowUp:
    """Asks the reasoner's model questions about one diagnosis at a time.

    Raises:
        SettingsError: the task's own words for its prompts cannot be used.
    """

    def __init__(self, settings: ReasonerSettings, task: Task, budget: Budget | None = None) -> None:
        """Set up the model's client; `budget` as for `VlmAgent`."""
        self.settings, self.task = settings, task
        self._prompt, self._reasoner_prompt = load_prompt("follow-up", task), load_prompt("reasoner", task)
        self._client = ModelClient(REASONER, settings, budget)

    async def answer(self, diagnosis: Diagnosis, question: str, seconds: float) -> str:
        """Return the model's answer to a person's question, on one line.

        Args:
            seconds: how long the model may take.

        Raises:
            AgentError: there is no usable answer within that time; the message says why.
        """
        shown = _record(diagnosis).text(self._reasoner_prompt)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._client.answered(
                    CallRecord(),
                    self._request(),
                    self._messages(diagnosis, shown, question),
                    lambda replies: replies[0].read(lambda text: _checked(text, shown, diagnosis)),
                    self._repair,
                )
        except ConsilienceError:
            raise
        except Exception as error:  # whatever a library makes of a broken server; the rules answer then
            log.warning("the language model failed", exc_info=error)
            late = f"no answer within {seconds:.3g} seconds"
            raise AgentError(late if limit.expired() else f"{type(error).__name__}: {error}") from error

    def _messages(self, diagnosis: Diagnosis, shown: str, question: str) -> list[Message]:
        prompt = self._prompt
        system = prompt.render(
            "system", domain=quoted(self.task.domain), labels="\n".join(label_lines(prompt, self.task))
        )
        asked = prompt.render(
            "question",
            record=shown,
            label=quoted(diagnosis.label),
            rationale=quoted(diagnosis.rationale, 1000),
            question=quoted(question, 500),
        )
        return [Message("system", (system,)), Message("user", (asked,))]

    def _request(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "model": settings.model,
            "temperature": settings.temperature,
            "max_completion_tokens": settings.max_tokens,
            "extra_body": dict(settings.extra_body),
        }

    def _repair(self, replies: Sequence[CompletionChoice], problem: AnswerError) -> list[Message]:
        return repair_messages(load_prompt("repair", self.task), replies[0].text, str(problem))


def _record(diagnosis: Diagnosis) -> CaseSummary:
    # A reasoner that decided has no trust of its own; its answer stands in the rationale.
    looks = tuple(p if p.weight is not None else replace(p, weight=0.0) for p in diagnosis.predictions)
    conclusion = replace(diagnosis, predictions=looks)
    return CaseSummary(diagnosis.identity, conclusion, diagnosis.evidence.to_dict(), diagnosis.trust)


def _checked(text: str, shown: str, diagnosis: Diagnosis) -> str:
    """Return the answer, if all its figures are in the record; what agents and people wrote is no record."""
    answer = clean(text, MAX_ANSWER_CHARACTERS)
    made_up = invented_figures(
        answer,
        shown=" ".join([shown, *diagnosis.reasons]),
        names=[*diagnosis.posterior, *(prediction.agent for prediction in diagnosis.predictions)],
        own=diagnosis.probability,
        countable=max(len(diagnosis.predictions), len(diagnosis.evidence.neighbours), len(diagnosis.posterior)),
    )
    if made_up:
        raise AnswerError(f"it holds numbers that the record does not: {', '.join(made_up[:5])}")
    check_words(answer, diagnosis.settled)
    return answer
