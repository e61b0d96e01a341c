"""A language model that reads cases; rules take over where it fails or contradicts what it reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consilience.agents import Budget, ReplyCache
from consilience.agents.vlm import confidence
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.conversation import Message, fingerprint, repair_messages
from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice, without_drafts
from consilience.agents.vlm.label_answer import LabelAnswer
from consilience.agents.vlm.model_client import ModelClient
from consilience.core.errors import AgentError, AnswerError, BudgetSpentError, ConsilienceError
from consilience.core.prediction import Prediction
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.task import Task
from consilience.orchestrator.decision.case_summary import REASONER, CaseSummary
from consilience.orchestrator.reasoner.output import ReasonerOutput, invented_figures, output_schema, parse_output
from consilience.orchestrator.reasoner.rationale_check import check_words
from consilience.prompts import Prompt, label_lines, load_prompt, quoted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReasonerResult:
    """The outcome of reading one case.

    Attributes:
        prediction: the reasoner's answer, as an agent's; a failed one, with the cause, where it could not be used.
        ask_again: by agent, why it should look again.
    """

    prediction: Prediction
    ask_again: Mapping[str, str] = field(default_factory=dict)


class Reasoner:
    """Asks a language model about several cases at once.

    It is asked once more after a reply that cannot be read, with the problem named. A cached reply costs no request.

    Raises:
        SettingsError: the task's own words for its prompt cannot be used.
    """

    def __init__(
        self, settings: ReasonerSettings, task: Task, cache: ReplyCache | None = None, budget: Budget | None = None
    ) -> None:
        """Set up the model's client; `cache` and `budget` as for `VlmAgent`."""
        self.settings, self.task = settings, task
        self.prompt = load_prompt("reasoner", task)
        self._cache = cache
        self._client = ModelClient(REASONER, settings, budget)

    async def read(self, summaries: Sequence[CaseSummary], seconds: float) -> list[ReasonerResult]:
        """Ask about each case, and return the results in the same order.

        Args:
            seconds: how long all answers may take; a case without one in time gets a failed prediction, with the cause.

        Raises:
            BudgetSpentError: an adviser may spend no more, which ends the run as with any member.
            SettingsError: the task's own words for its prompt cannot be rendered.
        """
        answers = await asyncio.gather(*(self._read(summary, seconds) for summary in summaries), return_exceptions=True)
        readings: list[ReasonerResult] = []
        for answer in answers:  # those that went on were waited for
            if isinstance(answer, BaseException):
                raise answer
            readings.append(answer)
        return readings

    async def _read(self, summary: CaseSummary, seconds: float) -> ReasonerResult:
        question, call, limit = ReasonerQuestion(self.settings, self.task, self.prompt, summary), CallRecord(), None
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._kept_or_asked(question, call)
        except ConsilienceError as error:
            if isinstance(error, BudgetSpentError) and self.settings.role == "advise":
                raise
            cause = str(error)
        except Exception as error:
            log.warning("the reasoner failed", exc_info=error)
            is_late = limit is not None and limit.expired()
            cause = f"no answer within {seconds:.3g} seconds" if is_late else f"{type(error).__name__}: {error}"
        return ReasonerResult(self._accounted(Prediction(REASONER, error=cause), call))

    async def _kept_or_asked(self, question: ReasonerQuestion, call: CallRecord) -> ReasonerResult:
        cache, messages, request = self._cache, question.messages(), question.request()
        key = fingerprint(
            messages,
            request=request,
            endpoint=self.settings.base_url,
            role=self.settings.role,  # decides what is accepted
            prompts=self._versions,
        )
        if cache is not None and (kept := await asyncio.to_thread(cache.get, key)) is not None:
            return ReasonerResult(replace(kept, cached=True), question.output(without_drafts(kept.raw or "")).ask_again)
        output = await self._client.answered(
            call, request, messages, lambda replies: replies[0].read(question.output), self._repair
        )
        shares = confidence.verbalised(LabelAnswer(output.label, output.probability), self.task)
        prediction = self._accounted(Prediction(REASONER, "first", shares, output.probability, output.rationale), call)
        if cache is not None:
            await asyncio.to_thread(cache.put, key, self.settings.model, question.summary.image, prediction)
        return ReasonerResult(prediction, output.ask_again)

    def _repair(self, replies: Sequence[CompletionChoice], problem: AnswerError) -> list[Message]:
        return repair_messages(load_prompt("repair", self.task), replies[0].text, str(problem))

    def _accounted(self, prediction: Prediction, call: CallRecord) -> Prediction:
        return call.accounted(prediction, self._versions, self._client.cost(call.usage))

    @property
    def _versions(self) -> str:
        return ", ".join(f"{name} {load_prompt(name, self.task).version}" for name in ("reasoner", "repair"))


class ReasonerQuestion:
    """The request about one case, and how the reply to it is read."""

    def __init__(self, settings: ReasonerSettings, task: Task, prompt: Prompt, summary: CaseSummary) -> None:
        self.summary = summary
        self._settings, self._task, self._prompt = settings, task, prompt
        self._shown = summary.text(prompt)

    def messages(self) -> list[Message]:
        """Return the messages to the model."""
        render, task, again = self._prompt.render, self._task, self.summary.can_revise
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
            purpose=render(purpose, label=quoted(self.summary.label)),
        )
        return [Message("system", (system,)), Message("user", (question,))]

    def request(self) -> dict[str, Any]:
        """Return the fields of a request but for its messages."""
        settings = self._settings
        request: dict[str, Any] = {
            "model": settings.model,
            "temperature": settings.temperature,
            "max_completion_tokens": settings.max_tokens,
        }
        if settings.structured == "json_schema":
            schema = output_schema(self._task, self.summary.can_revise)
            named = {"name": "reasoner_output", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        return request | {"extra_body": dict(settings.extra_body)}

    def output(self, text: str) -> ReasonerOutput:
        """Return the answer in a reply.

        Raises:
            AnswerError: there is none; or its words, which are to stand beside the diagnosis, are missing, hold figures
                that the record does not, or an address, or contradict the verdict.
            AgentError: it was to explain the diagnosis, and names another label.
        """
        summary, role = self.summary, self._settings.role
        output = parse_output(text, self._task, summary.can_revise)
        if role == "explain" and output.label != summary.label:  # asked again, it would only give in
            raise AgentError(f"it was to explain {quoted(summary.label, 60)}, but says {quoted(output.label, 60)}")
        if role == "advise":
            return output
        if not output.rationale:
            raise AnswerError("'rationale' is empty; it must say why")
        if made_up := self._invented(output):
            raise AnswerError(f"'rationale' holds numbers that the record does not: {', '.join(made_up[:5])}")
        words = " ".join([output.rationale, *output.ask_again.values()])
        check_words(words, summary.conclusion.settled if role == "explain" else None)
        return output

    def _invented(self, output: ReasonerOutput) -> list[str]:
        summary, labels = self.summary, self._task.names
        predictions = summary.conclusion.predictions
        return invented_figures(
            output.rationale,
            shown=" ".join([self._shown, *summary.conclusion.reasons]),
            names=[*labels, *(prediction.agent for prediction in predictions)],
            own=output.probability,
            countable=max(len(predictions), len(summary.evidence["neighbours"]), len(labels)),
        )
