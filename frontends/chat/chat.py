"""Chat: looks at images, answers questions about a diagnosis, and takes what people say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import AgentError, ConsilienceError, ImageError
from consilience.core.evidence import Evidence
from consilience.core.images import Image, ImageSource, Named, load_image
from consilience.core.prediction import look_name
from consilience.core.render.phrases import one_line
from consilience.frontends.chat import rule_answers as answers
from consilience.frontends.chat.coalescer import Coalescer
from consilience.frontends.chat.question import ChatQuestion, recognised
from consilience.frontends.chat.reply import Reply
from consilience.orchestrator.feedback.drift import drift
from consilience.orchestrator.reasoner.follow_up import FollowUp
from consilience.prompts import clean

if TYPE_CHECKING:
    from consilience.orchestrator.diagnoser import Diagnoser
    from consilience.orchestrator.feedback.feedback import Feedback, Feedbacks
    from consilience.orchestrator.feedback.history import History, StoredDiagnosis
    from consilience.orchestrator.reloading import ReloadingDiagnoser

Refer = Callable[[Reply, str], Awaitable[str]]
"""Shows a diagnosis to people to whom somebody, the second argument, refers it; returns whom it told, in words."""

AgainImage = Callable[[], Awaitable[ImageSource]]


class Chat:
    """A conversation with any number of people about any number of diagnoses; it keeps nothing but the history.

    Attributes:
        refer: to whom a diagnosis goes that a person wants to be looked at; None: to nobody.

    All methods raise a ConsilienceError whose words can be shown to the person: an ImageError for an image that cannot
    be read, a HistoryError for a diagnosis that is gone or a label that the task lacks, and so on.
    """

    def __init__(
        self,
        diagnoser: Diagnoser | ReloadingDiagnoser,
        history: History,
        feedbacks: Feedbacks,
        *,
        refer: Refer | None = None,
    ) -> None:
        self.diagnoser, self.history, self.feedbacks = diagnoser, history, feedbacks
        self.refer = refer
        self._keeping = Coalescer(history.keep_many)
        self._follow_up: FollowUp | None = None

    async def look(self, image: ImageSource, *, person: str, channel: str, name: str | None = None) -> Reply:
        """`diagnose`, and tell it."""
        return self._diagnosed(await self.diagnose(image, person=person, channel=channel, name=name))

    async def diagnose(
        self, image: ImageSource, *, person: str, channel: str, name: str | None = None
    ) -> StoredDiagnosis:
        """Diagnose an image, and keep the diagnosis.

        Args:
            person: who asks. channel: through which door.
            name: what the image is called, where it is not given as a path or an address.
        """
        source = image if name is None else Named(image, name)
        return await self._keep(await self.diagnoser.adiagnose(source), person, channel)

    async def show(self, diagnosis_id: str) -> Reply:
        """What `look` replied to a diagnosis that was kept; its picture shows the thumbnail."""
        kept = await self._kept(diagnosis_id)
        return self._diagnosed(replace(kept, diagnosis=replace(kept.diagnosis, image=await _thumbnail(kept))))

    async def ask(
        self, diagnosis_id: str, text: str, *, person: str, channel: str, image: AgainImage | None = None
    ) -> Reply:
        """Answer a question about a diagnosis from its record: by rules, else by a language model if there is one.

        Args:
            image: gets the image, for a person who wants it looked at again; None: it is gone. What is recorded of its
                source is never opened: it may be a name that somebody made up.
        """
        kept = await self._kept(diagnosis_id)
        question = recognised(text, [one.agent for one in kept.diagnosis.predictions])
        if question is not None and question.kind == "again":
            return await self._again(kept, person, channel, image)
        if question is not None and question.is_plain:
            return await self._by_rules(kept, question)
        return await self._freely(kept, text, question)

    async def press(self, diagnosis_id: str, action: str, value: str = "", *, person: str) -> Reply:
        """Take what a person says by a button: "right", "wrong" with a label as `value`, or "refer"."""
        if action == "refer":
            return await self._referred(diagnosis_id, person)
        if action not in ("right", "wrong"):
            raise ConsilienceError(f"there is no button '{action}'")
        label = value if action == "wrong" else None
        feedback = await asyncio.to_thread(self.feedbacks.give, diagnosis_id, person, label)
        others = [one for one in await asyncio.to_thread(self.feedbacks.of, diagnosis_id) if one.person != person]
        return Reply(_thanks(feedback, others), diagnosis=diagnosis_id)

    async def drifted(self) -> dict[str, str]:
        """The agents that have become worse since `fit`, and what is to be said of each."""
        panel, seed = self.diagnoser.panel, self.diagnoser.settings.seed
        found = await asyncio.to_thread(drift, panel, self.history, seed=seed)
        return {look_name(one.agent, one.stage): answers.has_fallen(one) for one in found.fallen}

    def _diagnosed(self, kept: StoredDiagnosis) -> Reply:
        labels, image = self.diagnoser.panel.task.names, kept.diagnosis.image
        return answers.diagnosed(kept.diagnosis, kept.id, image, labels, can_refer=self.refer is not None)

    async def _keep(self, diagnosis: Diagnosis, person: str, channel: str) -> StoredDiagnosis:
        return await self._keeping((diagnosis, channel, person))

    async def _kept(self, diagnosis_id: str) -> StoredDiagnosis:
        """With the pictures of its similar cases, as far as the panel still holds them."""
        kept = await asyncio.to_thread(self.history.get, diagnosis_id)
        thumbnail = self.diagnoser.memory.labelled_images.thumbnail
        evidence = Evidence.from_dict(kept.diagnosis.evidence.to_dict(), thumbnail)
        return replace(kept, diagnosis=replace(kept.diagnosis, evidence=evidence))

    async def _by_rules(self, kept: StoredDiagnosis, question: ChatQuestion) -> Reply:
        diagnosis, weigher = kept.diagnosis, self.diagnoser.weigher
        match question.kind:
            case "similar":
                return answers.similar(diagnosis, kept.id, await _thumbnail(kept))
            case "without":
                return answers.what_if(diagnosis, kept.id, question.agents, weigher)
            case "sure":
                return answers.how_sure(diagnosis, kept.id, weigher)
            case "who":
                return answers.who(diagnosis, kept.id)
            case "why":
                return answers.why(diagnosis, kept.id)
        return Reply(answers.HELP, diagnosis=kept.id)

    async def _freely(self, kept: StoredDiagnosis, text: str, question: ChatQuestion | None) -> Reply:
        """By the language model; by rules where there is none, or where its answer cannot be used."""
        note, model = "", self._model()
        if model is not None:
            seconds = self.diagnoser.settings.policy.agent_timeout_seconds
            try:
                return Reply(await model.answer(kept.diagnosis, text, seconds), diagnosis=kept.id)
            except AgentError as error:
                note = f"The language model was not used: {clean(str(error))}."
        known = await self._by_rules(kept, question) if question else answers.unknown(kept.diagnosis, kept.id)
        return replace(known, closing=note)

    def _model(self) -> FollowUp | None:
        """The language model that the panel at work and the settings name; it holds connections, so it is kept."""
        panel = self.diagnoser.panel
        settings = self.diagnoser.settings.reasoner or panel.reasoner
        if settings is None:
            return None
        if self._follow_up is None or self._follow_up.task is not panel.task:
            self._follow_up = FollowUp(settings, panel.task, self.diagnoser.budget)
        return self._follow_up

    async def _again(self, kept: StoredDiagnosis, person: str, channel: str, image: AgainImage | None) -> Reply:
        if image is None:
            raise ImageError("the image was not kept: give it once more to have it looked at again")
        source = await image()
        name = one_line(kept.diagnosis.source)
        loaded = await asyncio.to_thread(load_image, source, self.diagnoser.settings.images, name)
        if loaded.identity != kept.diagnosis.identity:
            raise ImageError(f"'{name}' is not the image that was diagnosed any more: give it as a new image")
        diagnosis = await self.diagnoser.adiagnose(loaded, revise=True)
        reply = self._diagnosed(await self._keep(diagnosis, person, channel))
        return answers.looked_again(diagnosis, kept.diagnosis, reply)

    async def _referred(self, diagnosis_id: str, person: str) -> Reply:
        shown = await self.show(diagnosis_id)
        if self.refer is None:
            return Reply("Nobody is named here to whom an image can be referred.", diagnosis=diagnosis_id)
        return Reply(f"Referred to {one_line(await self.refer(shown, person))}.", diagnosis=diagnosis_id)


async def _thumbnail(kept: StoredDiagnosis) -> Image | None:
    if kept.thumbnail is None:
        return None
    return await asyncio.to_thread(load_image, kept.thumbnail, name=f"thumbnail {kept.id}")


_WAITING = "It waits for review before the panel learns from it."
_STATUS = {
    "waiting": "It waits for review or for others to agree before the panel learns from it.",
    "counts": "It counts: the panel can learn from it.",
    "refused": "It was refused in review.",
    "undone": "What was learned from it was taken back.",
}


def _thanks(feedback: Feedback, others: Sequence[Feedback]) -> str:
    disputed = [one_line(one.label) for one in others if one.label != feedback.label]
    but = f" Somebody else says {' and '.join(dict.fromkeys(disputed))}: a person must decide." if disputed else ""
    return f"Thank you, noted: it is {one_line(feedback.label)}.{but or ' ' + _STATUS[feedback.status]}"
