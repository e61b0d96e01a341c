"""The record of one question to a model: its replies, tokens and seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice, Usage
from consilience.core.errors import AgentError, AnswerError, RefusedWordsError
from consilience.core.prediction import Prediction
from consilience.prompts import quoted

MAX_RAW_CHARACTERS = 20_000
"""Characters of a model's replies that a prediction keeps."""


@dataclass
class CallRecord:
    """The record of one question to a model, filled while it is asked.

    Attributes:
        usage: tokens and seconds of all replies, those included that could not be used.
        choices: the last replies.
    """

    usage: Usage = field(default_factory=Usage)
    choices: list[CompletionChoice] = field(default_factory=list)

    def unusable(self, problem: AnswerError) -> AgentError:
        """Return the error of replies that are no answer, after the last try; it quotes the first, if it may."""
        if isinstance(problem, RefusedWordsError):
            return AgentError(str(problem))
        said = quoted(self.choices[0].raw, 200)
        return AgentError(f"{problem}; it answered {said}")

    def accounted(self, prediction: Prediction, prompt: str, cost_usd: float = 0.0) -> Prediction:
        """Return the prediction with the raw replies, and the cost, tokens and seconds of all of them.

        Args:
            prediction: what was made of the replies.
            prompt: the prompts and their versions, as in `Prediction`.
            cost_usd: cost in US dollars.
        """
        return replace(
            prediction,
            cost_usd=cost_usd,
            tokens=self.usage.input_tokens + self.usage.output_tokens,
            seconds=self.usage.seconds,
            raw="\n".join(choice.raw for choice in self.choices)[:MAX_RAW_CHARACTERS] if self.choices else None,
            prompt=prompt,
        )
