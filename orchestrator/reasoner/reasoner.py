"""A language model that reads the record of a diagnosis; rules take over where it fails or contradicts the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consilience.agents import Budget, ReplyCache
from consilience.agents.vlm import confidence
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.chat_completion import CompletionChoice
from consilience.agents.vlm.conversation import Message, fingerprint, repair_messages
from consilience.agents.vlm.label_answer import LabelAnswer
from consilience.agents.vlm.model_client import ModelClient
from consilience.core.errors import AgentError, AnswerError, BudgetSpentError, ConsilienceError
from consilience.core.prediction import Prediction
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.task import Task
from consilience.orchestrator.decision.case_summary import REASONER, CaseSummary
from consilience.orchestrator.reasoner.output import ReasonerOutput, invented_figures, output_schema, parse_output
from consilience.prompts import Prompt, label_lines, load_prompt, quoted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReasonerResult:
    """What came of reading one record.

    Attributes:
        prediction: the reasoner's word, as an agent's; a failed one, with the cause, where it could not be used.
        ask_again: by agent, why it should look again.
    """

    prediction: Prediction
    ask_again: Mapping[str, str] = field(default_factory=dict)


class Reasoner:
    """Asks a language model about records, several at once.

    It is asked once more after a reply that is no opinion, with the problem named. A kept reply costs no request.

    Raises:
        SettingsError: the task's own words for its prompt cannot be used.
    """

    def __init__(
        self, settings: ReasonerSettings, task: Task, cache: ReplyCache | None = None, budget: Budget | None = None
    ) -> None:
        """`cache` and `budget` as for `VlmAgent`."""
        self.settings, self.task = settings, task
        self.prompt = load_prompt("reasoner", task)
        self._cache = cache
        self._respondent = ModelClient(REASONER, settings, budget)

    async def read(self, summaries: Sequence[CaseSummary], seconds: float) -> list[ReasonerResult]:
        """A reading of each record: a failed one, with the cause, where none was had within so many seconds.

        Raises:
            BudgetSpentError: an adviser may spend no more, which ends the run as with any member.
            SettingsError: the task's own words for its prompt cannot be rendered.
        """
        answers = await asyncio.gather(*(self._read(record, seconds) for record in summaries), return_exceptions=True)
        readings: list[ReasonerResult] = []
        for answer in answers:  # those that went on were waited for
            if isinstance(answer, BaseException):
                raise answer
            readings.append(answer)
        return readings

    async def _read(self, record: CaseSummary, seconds: float) -> ReasonerResult:
        question, exchange, limit = ReasonerQuestion(self.settings, self.task, self.prompt, record), CallRecord(), None
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._kept_or_asked(question, exchange)
        except ConsilienceError as error:
            if isinstance(error, BudgetSpentError) and self.settings.role == "advise":
                raise
            cause = str(error)
        except Exception as error:
            log.warning("the reasoner failed", exc_info=error)
            is_late = limit is not None and limit.expired()
            cause = f"no answer within {seconds:.3g} seconds" if is_late else f"{type(error).__name__}: {error}"
        return ReasonerResult(self._accounted(Prediction(REASONER, error=cause), exchange))

    async def _kept_or_asked(self, question: ReasonerQuestion, exchange: CallRecord) -> ReasonerResult:
        cache, messages, request = self._cache, question.messages(), question.request()
        key = fingerprint(
            messages,
            request=request,
            endpoint=self.settings.base_url,
            role=self.settings.role,  # decides what is accepted
            prompts=self._versions,
        )
        if cache is not None and (kept := await asyncio.to_thread(cache.get, key)) is not None:
            return ReasonerResult(replace(kept, cached=True), question.output(kept.raw or "").ask_again)
        output = await self._respondent.answered(
            exchange, request, messages, lambda replies: replies[0].read(question.output), self._repair
        )
        shares = confidence.verbalised(LabelAnswer(output.label, output.probability), self.task)
        prediction = self._accounted(
            Prediction(REASONER, "first", shares, output.probability, output.rationale), exchange
        )
        if cache is not None:
            await asyncio.to_thread(cache.put, key, self.settings.model, question.record.image, prediction)
        return ReasonerResult(prediction, output.ask_again)

    def _repair(self, replies: Sequence[CompletionChoice], problem: AnswerError) -> list[Message]:
        return repair_messages(load_prompt("repair", self.task), replies[0].text, str(problem))

    def _accounted(self, prediction: Prediction, exchange: CallRecord) -> Prediction:
        return exchange.accounted(prediction, self._versions, self._respondent.cost(exchange.spent))

    @property
    def _versions(self) -> str:
        return ", ".join(f"{name} {load_prompt(name, self.task).version}" for name in ("reasoner", "repair"))


class ReasonerQuestion:
    """What one record is asked with, and how the reply is read."""

    def __init__(self, settings: ReasonerSettings, task: Task, prompt: Prompt, record: CaseSummary) -> None:
        self.record = record
        self._settings, self._task, self._prompt = settings, task, prompt
        self._shown = record.text(prompt)

    def messages(self) -> list[Message]:
        """What the model is told."""
        render, task, again = self._prompt.render, self._task, self.record.can_revise
        system = render(
            "system",
            domain=quoted(task.domain),
            labels="\n".join(label_lines(self._prompt, task)),
            wishes=render("wishes") if again else "",
        )
        purpose = "explain" if self._settings.role == "explain" else "judge"
        question = render(
            "question",
            record=self._shown,
            asking=render("can-ask", agents=", ".join(map(quoted, again))) if again else "",
            purpose=render(purpose, label=quoted(self.record.label)),
        )
        return [Message("system", (system,)), Message("user", (question,))]

    def request(self) -> dict[str, Any]:
        """The fields of a request but for its messages."""
        settings = self._settings
        request: dict[str, Any] = {
            "model": settings.model,
            "temperature": settings.temperature,
            "max_completion_tokens": settings.max_tokens,
        }
        if settings.structured == "json_schema":
            schema = output_schema(self._task, self.record.can_revise)
            named = {"name": "opinion", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        return request | {"extra_body": dict(settings.extra_body)}

    def output(self, text: str) -> ReasonerOutput:
        """The opinion in a reply.

        Raises:
            AnswerError: there is none; or its words, which are to be the diagnosis', are missing or hold figures that
                the record does not.
            AgentError: it was to explain the diagnosis, and names another label.
        """
        record, role = self.record, self._settings.role
        output = parse_output(text, self._task, record.can_revise)
        if role == "explain" and output.label != record.label:  # asked again, it would only give in
            raise AgentError(f"it was to explain {quoted(record.label, 60)}, but says {quoted(output.label, 60)}")
        if role == "advise":
            return output
        if not output.rationale:
            raise AnswerError("'rationale' is empty; it must say why")
        if made_up := self._invented(output):
            raise AnswerError(f"'rationale' holds numbers that the record does not: {', '.join(made_up[:5])}")
        return output

    def _invented(self, output: ReasonerOutput) -> list[str]:
        record, labels = self.record, self._task.names
        predictions = record.conclusion["predictions"]
        return invented_figures(
            output.rationale,
            shown=" ".join([self._shown, *record.conclusion["reasons"]]),
            names=[*labels, *(prediction["agent"] for prediction in predictions)],
            own=output.probability,
            countable=max(len(predictions), len(record.evidence["neighbours"]), len(labels)),
        )
