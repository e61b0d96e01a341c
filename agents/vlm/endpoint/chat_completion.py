"""The reply of an OpenAI-compatible chat endpoint; every field that is used is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from consilience.core.errors import AgentError, AnswerError
from consilience.prompts import clean

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
    content: str | None = None
    refusal: str | None = None


class CompletionChoice(_Checked):
    """One of the answers in a reply."""

    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    @classmethod
    def of(cls, text: str, ended: bool) -> CompletionChoice:
        """Return the reply `text` of a model in this process; `ended`: it came to its end before max_tokens."""
        return cls(message=_Message(content=text), finish_reason="stop" if ended else "length")

    @property
    def text(self) -> str:
        """The text of the reply.

        Raises:
            AgentError: the model or its provider refused to answer, or the reply is empty.
        """
        if self.message.refusal:
            raise AgentError(f"the model refused: {clean(self.message.refusal)}")
        if self.finish_reason == "content_filter":
            raise AgentError("the provider's content filter withheld the answer")
        if not (self.message.content or "").strip():
            raise AgentError("the reply is empty" + (": " + self.cut_off if self.cut_off else ""))
        return self.message.content or ""

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
        positions = (self.logprobs.content if self.logprobs else None) or ()
        if positions and not b"".join(position.text for position in positions).startswith(
            (self.message.content or "").encode()
        ):
            raise AgentError(f"the server's log probabilities of {len(positions)} tokens do not spell its reply")
        return positions


class UsageFields(_Checked):
    """The tokens of a reply, as the endpoint counts them: of the request and of what was written."""

    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    completion_tokens: Annotated[int, Field(ge=0)] = 0


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
        """Return the chat completion in the body of a response.

        Raises:
            AgentError: the body is no chat completion, or one without choices.
        """
        try:
            reply = cls.model_validate_json(body)
        except ValidationError as cause:
            first = cause.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise AgentError(f"the endpoint did not answer with a chat completion ({where}: {first['msg']})") from cause
        if not reply.choices:
            raise AgentError("the endpoint answered with a chat completion without choices")
        return reply
