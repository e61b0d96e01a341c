"""A question about one image, wherever the model runs: its messages, and the prediction made of the replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consilience.agents.vlm import confidence
from consilience.agents.vlm.call_record import CallRecord
from consilience.agents.vlm.conversation import (
    Message,
    caption_messages,
    first_messages,
    repair_messages,
    second_messages,
)
from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice
from consilience.agents.vlm.label_answer import LabelAnswer, parse_answer, parse_label
from consilience.core.errors import AgentError, AnswerError
from consilience.core.evidence import Evidence
from consilience.core.images import Image
from consilience.core.prediction import Prediction, Stage
from consilience.core.settings.model_settings import LookSettings
from consilience.core.task import Task
from consilience.prompts import clean, load_prompt


@dataclass(frozen=True)
class ImageQuestion:
    """A question about one image: a first look, or a second one where there is a first prediction.

    Attributes:
        settings: how the agent asks.
        task: the question's labels and domain.
        image: None where only its vector was given; such a question cannot be asked.
        first: the agent's first prediction; None in a first look.
        evidence: the similar cases for a second look; None in a first one.
    """

    settings: LookSettings
    task: Task
    image: Image | None
    first: Prediction | None = None
    evidence: Evidence | None = None

    @property
    def stage(self) -> Stage:
        """The stage of the prediction that comes of it."""
        return "first" if self.first is None else "second"

    @property
    def in_words(self) -> bool:
        """Whether a description is asked for rather than one of the labels."""
        return False

    @property
    def answers(self) -> int:
        """How many replies are asked for."""
        return self.settings.answers

    @property
    def prompts(self) -> str:
        """The names and versions of the prompts, such as 'look 3, repair 2', which are part of the cache key."""
        return prompts_of(self.stage, self.task)

    def pixels(self) -> Image:
        """Return the image. Raises AgentError if only its vector was given."""
        if self.image is None:
            raise AgentError(f"'{self.settings.name}' needs pixels, and of this image only the vector was given")
        return self.image

    def messages(self) -> list[Message]:
        """Return the messages for the model. Raises AgentError if only a vector of the image was given."""
        settings, task = self.settings, self.task
        prompt = load_prompt("look", task)
        messages = first_messages(prompt, task, self.pixels(), settings.image_side, settings.label_only)
        if self.first is None or self.evidence is None:
            return messages
        return messages + second_messages(
            load_prompt("second-look", task),
            self.first,
            self.evidence,
            settings.neighbours_shown,
            settings.neighbour_side,
            settings.label_only,
        )

    def repair(self, replies: Sequence[CompletionChoice], problem: AnswerError) -> list[Message]:
        """Return the messages to append after replies of which none was an answer; `problem` says why."""
        return repair_messages(load_prompt("repair", self.task), replies[0].text, str(problem))

    def prediction(self, replies: Sequence[CompletionChoice]) -> Prediction:
        """Return the prediction that the replies give.

        Raises:
            AnswerError: none of them is an answer; the model may be asked again.
            AgentError: the same, where asking again would not help.
        """
        answers: list[LabelAnswer] = []
        problems: list[AgentError] = []
        for reply in replies:
            try:
                answers.append(self._answer(reply))
            except AgentError as problem:
                problems.append(problem)
        if not answers:
            raise problems[0]
        answer, stated = answers[0], None
        if self.settings.confidence == "sampled":
            shares = confidence.sampled([answer.label for answer in answers], self.task)
            leading = max(shares, key=shares.__getitem__) if shares else None
            answer = next(answer for answer in answers if answer.label == leading)
        elif self.settings.confidence == "logprob":
            shares = confidence.logprob(replies[0].positions, self.task)
        else:
            shares, stated = confidence.verbalised(answer, self.task), answer.confidence
        return self.predicted(shares, answer.rationale, stated)

    def predicted(
        self, shares: Mapping[str, float] | None, rationale: str = "", stated: float | None = None
    ) -> Prediction:
        """Return a prediction of this agent.

        Args:
            shares: the probability of each label; None: it abstains.
            rationale: why, in the model's words.
            stated: the confidence that the model stated.
        """
        return Prediction(
            self.settings.name,
            self.stage,
            probabilities=shares,
            confidence=stated if shares else None,
            rationale=rationale,
            abstained=shares is None,
        )

    def failed(self, error: Exception) -> Prediction:
        """Return a failed prediction of this agent, with the cause."""
        return Prediction(self.settings.name, self.stage, error=str(error))

    def accounted(self, prediction: Prediction, record: CallRecord, cost_usd: float = 0.0) -> Prediction:
        """Return the prediction with the raw replies, and the cost, tokens and seconds of all of them."""
        return record.accounted(prediction, self.prompts, cost_usd)

    def _answer(self, reply: CompletionChoice) -> LabelAnswer:
        """Return the answer in a reply, in the form that was asked for. Errors as of `CompletionChoice.read`."""
        if self.settings.label_only:
            return reply.read(lambda text: LabelAnswer(parse_label(text, self.task)))
        return reply.read(lambda text: parse_answer(text, self.task, self.stage))


def prompts_of(stage: Stage, task: Task) -> str:
    """Return the names and versions of the prompts of a look, as in `ImageQuestion.prompts`."""
    names = ["look", *(["second-look"] if stage == "second" else []), "repair"]
    return ", ".join(f"{name} {load_prompt(name, task).version}" for name in names)


@dataclass(frozen=True)
class CaptionQuestion(ImageQuestion):
    """A request to describe one image. The description becomes the rationale of an abstention."""

    @property
    def in_words(self) -> bool:
        return True

    @property
    def answers(self) -> int:
        return 1

    @property
    def prompts(self) -> str:
        return f"caption {load_prompt('caption', self.task).version}"

    def messages(self) -> list[Message]:
        return caption_messages(load_prompt("caption", self.task), self.task, self.pixels(), self.settings.image_side)

    def prediction(self, replies: Sequence[CompletionChoice]) -> Prediction:
        if replies[0].cut_off:
            raise AgentError(f"the reply is no caption: {replies[0].cut_off}")
        return self.predicted(None, clean(replies[0].text))
