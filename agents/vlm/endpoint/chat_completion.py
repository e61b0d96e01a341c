"""The reply of an OpenAI-compatible chat endpoint: what is used is checked, and read for what it means.

Providers differ: counts come as null or with a fraction, contents in parts, answers beside their reasoning, drafts in
front of answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from consilience.agents.vlm.endpoint.event_stream import joined_events
from consilience.agents.vlm.endpoint.provider_error import error_in
from consilience.core.errors import AgentError, AnswerError
from consilience.prompts import clean, quoted

Read = TypeVar("Read")


def _log_probability(value: float) -> float:
    """Return a log probability, at most 0. Raises ValueError for anything else."""
    if not value <= 1e-3:  # false for NaN too; servers round
        raise ValueError("a log probability is at most 0")
    return min(value, 0.0)


class _Checked(BaseModel):
    """A part of a reply: types are strict, and errors don't quote what came."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)


class CompletionToken(_Checked):
    """A token and its log probability at its position."""

    token: str
    utf8: tuple[Annotated[int, Field(ge=0, le=255)], ...] | None = Field(default=None, alias="bytes")
    logprob: Annotated[float, AfterValidator(_log_probability)]

    @property
    def text(self) -> bytes:
        """What the token adds to the reply, as UTF-8; it may be part of a character."""
        return self.token.encode() if self.utf8 is None else bytes(self.utf8)

    @property
    def probability(self) -> float:
        """The token's probability at its position, in [0, 1]."""
        return math.exp(self.logprob)


class Position(CompletionToken):
    """The token that was chosen at a position of the reply, and the likeliest ones there."""

    top_logprobs: tuple[CompletionToken, ...] = ()


class _Logprobs(_Checked):
    content: tuple[Position, ...] | None = None


class _Message(_Checked):
    """What the model wrote. A content in parts is joined; its thoughts are no part of the answer."""

    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _joined(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        message = fields | {"reasoning": _text(fields.get("reasoning_content") or fields.get("reasoning"))}
        if isinstance(content := fields.get("content"), list):
            parts = [part if isinstance(part, dict) else {"type": "text", "text": part} for part in content]
            message["content"] = "".join(_text(part.get("text")) or "" for part in parts if part.get("type") in _SAID)
            refusals = [_text(part["refusal"]) or "" for part in parts if part.get("refusal")]
            message["refusal"] = fields.get("refusal") or "".join(refusals) or None
        return message


_SAID = ("text", "output_text")
"""Kinds of parts of a content that are the answer; others are thoughts."""

_TAGS = "think|thinking|thought|reasoning"
_DRAFT = re.compile(rf".*(?:</(?:{_TAGS})>|\[/THINK\]|<\|channel\|>final<\|message\|>)", re.DOTALL | re.IGNORECASE)
_OPEN_DRAFT = re.compile(rf"(?:<(?:{_TAGS})>|\[THINK\]|<\|channel\|>).*", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"\s*```\w*\s*(.*?)\s*```\s*", re.DOTALL)


def _text(value: Any) -> str | None:
    """Return a value that should be text, if it is."""
    return value if isinstance(value, str) else None


def without_drafts(text: str) -> str:
    """Return a reply without what the model thought before it answered: a draft is no answer.

    The beginning of a draft may be missing, since some servers put it into the prompt; one without an end has no
    answer behind it.

    >>> without_drafts('<think>scab? No.</think> {"label": "rust"}')
    ' {"label": "rust"}'
    """
    return _OPEN_DRAFT.sub("", _DRAFT.sub("", text))


def _is_an_answer(thought: str) -> bool:
    """Return whether a model's reasoning is nothing but an answer, which its server put into the wrong place."""
    fenced = _FENCE.fullmatch(thought)
    thought = fenced[1] if fenced else thought
    return thought[:1] + thought[-1:] == "{}" or not ("{" in thought or "\n" in thought)


class CompletionChoice(_Checked):
    """One of the answers in a reply."""

    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | tuple[()] | None = None  # some servers send an empty list

    @classmethod
    def of(cls, text: str, ended: bool) -> CompletionChoice:
        """Return the reply `text` of a model in this process; `ended`: it came to its end before max_tokens."""
        return cls(message=_Message(content=text), finish_reason="stop" if ended else "length")

    @property
    def text(self) -> str:
        """The text of the reply, without drafts.

        Raises:
            AgentError: the model or its provider refused to answer, or the reply is empty.
        """
        if self.message.refusal:
            raise AgentError(f"the model refused: {clean(self.message.refusal)}")
        if self.finish_reason == "content_filter":
            raise AgentError("the provider's content filter withheld the answer")
        content, thought = self.message.content or "", (self.message.reasoning or "").strip()
        if (answer := without_drafts(content)).strip():
            return answer
        if thought and not content.strip() and not self.cut_off and _is_an_answer(thought):
            return thought
        draft = thought or content.strip()
        seen = f"the reply is a draft without an answer, {quoted(draft, 200)}" if draft else "the reply is empty"
        raise AgentError(seen + (": " + self.cut_off if self.cut_off else ""))

    @property
    def raw(self) -> str:
        """What came: the content, else the refusal, else the reasoning."""
        return self.message.content or self.message.refusal or self.message.reasoning or ""

    @property
    def cut_off(self) -> str:
        """Why the reply ends too early and what to do, as part of an error message; empty if it is whole."""
        return "it was cut off at max_tokens; raise that setting" if self.finish_reason == "length" else ""

    def read(self, parse: Callable[[str], Read]) -> Read:
        """Return what `parse` makes of the text.

        Raises:
            AnswerError: from `parse`: the text is no answer, and the model may be asked again.
            AgentError: the same where the text was cut off, as it would be again; or there is no text.
        """
        text = self.text
        try:
            return parse(text)
        except AnswerError as problem:
            if self.cut_off:  # asked again, it would be again
                raise AgentError(f"the reply is no answer: {self.cut_off}") from problem
            raise

    @property
    def positions(self) -> tuple[Position, ...]:
        """The log probabilities of the reply's tokens; none where the server sent none.

        Raises:
            AgentError: they are not those of the tokens that make up the reply.
        """
        positions = (self.logprobs.content if isinstance(self.logprobs, _Logprobs) else None) or ()
        if positions and not b"".join(position.text for position in positions).startswith(
            (self.message.content or "").encode()
        ):
            raise AgentError(f"the server's log probabilities of {len(positions)} tokens do not spell its reply")
        return positions


def _count(value: Any) -> Any:
    """Return a count that came as null (not told) or with a fraction as a whole number; leave all else as it is."""
    if value is None:
        return 0
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


Count = Annotated[int, Field(ge=0), BeforeValidator(_count)]
"""A number of tokens."""


class UsageFields(_Checked):
    """The tokens of a reply, as the endpoint counts them: of the request and of what was written."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0


@dataclass
class Usage:
    """The tokens and seconds of all replies so far.

    Attributes:
        input_tokens, output_tokens: read and written, as the endpoint counts them.
        seconds: from sending each request to its reply or failure, added up.
        busy_seconds: their share of the time in which the endpoint was busy with us.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0

    def count(self, usage: UsageFields | None) -> None:
        """Add the tokens of a reply; None adds nothing, because the endpoint did not tell."""
        if usage is not None:
            self.input_tokens += usage.prompt_tokens
            self.output_tokens += usage.completion_tokens

    def add(self, more: Usage) -> None:
        """Add the tokens and seconds of others."""
        self.input_tokens += more.input_tokens
        self.output_tokens += more.output_tokens
        self.seconds += more.seconds
        self.busy_seconds += more.busy_seconds


class ChatCompletion(_Checked):
    """A chat completion, as far as it is used here."""

    choices: tuple[CompletionChoice, ...]
    usage: UsageFields | None = None

    @classmethod
    def parse(cls, body: bytes) -> ChatCompletion:
        """Return the chat completion in the body of a response, which may be a stream of events.

        Raises:
            ProviderError: the body, or one of its choices, holds an error instead.
            AgentError: the body is no chat completion, or one without choices.
        """
        body = joined_events(body)
        if (error := error_in(body)) is not None:
            raise error
        try:
            reply = cls.model_validate_json(body)
        except ValidationError as cause:
            first = cause.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise AgentError(f"the endpoint did not answer with a chat completion ({where}: {first['msg']})") from cause
        if not reply.choices:
            raise AgentError("the endpoint answered with a chat completion without choices")
        return reply
