"""Chat: diagnoses images, answers questions about a diagnosis, and takes people's votes on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import AgentError, ConsilienceError, HeatMapError, ImageError
from consilience.core.evidence import Evidence
from consilience.core.images import Image, ImageSource, Named, load_image
from consilience.core.prediction import look_name
from consilience.core.render.phrases import one_line
from consilience.core.task import NONE_OF_THESE
from consilience.frontends.chat import rule_answers as answers
from consilience.frontends.chat.answering import answer_from_records
from consilience.frontends.chat.coalescer import Coalescer
from consilience.frontends.chat.image_comparison import compared
from consilience.frontends.chat.question import ChatQuestion, recognised
from consilience.frontends.chat.reply import Reply
from consilience.frontends.chat.suggestions import not_understood
from consilience.frontends.chat.vote_words import UNSURE, saved_words
from consilience.orchestrator.decision.explain import in_its_words
from consilience.orchestrator.decision.policy import under_alarm
from consilience.orchestrator.feedback.drift import drift
from consilience.orchestrator.feedback.streams import Streams, source_of
from consilience.orchestrator.reasoner.follow_up import FollowUp
from consilience.orchestrator.shift.shift_words import REASON, source_sentence
from consilience.prompts import clean

if TYPE_CHECKING:
    from consilience.core.render.heat_map import HeatMap
    from consilience.orchestrator.diagnoser import Diagnoser
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History, StoredDiagnosis
    from consilience.orchestrator.reloading import ReloadingDiagnoser

Refer = Callable[[Reply, str], Awaitable[str]]
"""Shows a diagnosis to the people that somebody, the second argument, refers it to; returns who they are, in words."""

AgainImage = Callable[[], Awaitable[ImageSource]]
"""Gets the image of a diagnosis once more."""

Before = Callable[[], Awaitable[str]]
"""Gets the id of the diagnosis before the one that is asked about, of another image; empty if there is none."""


async def nothing_before() -> str:
    """Return that no image came before."""
    return ""


class Chat:
    """A conversation with any number of people about any number of diagnoses; it keeps nothing but the history.

    All methods raise a ConsilienceError whose words can be shown to the person: an ImageError for an image that cannot
    be read, a HistoryError for a diagnosis that is gone or a label that the task lacks, and so on.

    Attributes:
        refer: shows a diagnosis to people whom somebody wants to look at it; None: nobody is set up.
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
        self.streams = Streams(history.database)
        self._keeping = Coalescer(self._keep_many)
        self._follow_up: FollowUp | None = None

    async def look(
        self, image: ImageSource, *, person: str, channel: str, name: str | None = None, source: str = ""
    ) -> Reply:
        """Diagnose an image, keep the diagnosis, and return it as a reply; arguments as of `diagnose`."""
        stored = await self.diagnose(image, person=person, channel=channel, name=name, source=source)
        return self._diagnosis_reply(stored)

    async def diagnose(
        self, image: ImageSource, *, person: str, channel: str, name: str | None = None, source: str = ""
    ) -> StoredDiagnosis:
        """Diagnose an image, and keep the diagnosis. Its source is watched: see `Streams`.

        Args:
            person: who asks.
            channel: where: "chat", "slack" or "web".
            name: what the image is called, where it is not given as a path or an address.
            source: where in the channel images come from, such as a room or a device; empty: not known.
        """
        named = image if name is None else Named(image, name)
        diagnosis = await self.diagnoser.adiagnose(named)
        return await self._keep(diagnosis, person, channel, source_of(diagnosis, channel, source))

    async def show(self, diagnosis_id: str) -> Reply:
        """Return what `look` replied for a diagnosis that was kept; its picture shows the thumbnail."""
        stored = await self._stored(diagnosis_id)
        return self._diagnosis_reply(
            replace(stored, diagnosis=replace(stored.diagnosis, image=await _thumbnail(stored)))
        )

    async def heat(self, diagnosis_id: str, label: str | None = None, other: str | None = None) -> HeatMap:
        """Return where in the image the agents looked, by the small picture that was kept; see `Diagnoser.heat`.

        Raises:
            HeatMapError: it cannot be told, for instance as no picture was kept.
            DatasetError: the diagnosis has no such label.
        """
        return (await self._heat(await self._stored(diagnosis_id), label, other))[0]

    async def where(self, diagnosis_id: str) -> Reply:
        """Return where in the image the agents looked, in words and over the image; or why that cannot be told."""
        stored = await self._stored(diagnosis_id)
        try:
            heat, image = await self._heat(stored)
        except HeatMapError as error:
            return Reply(one_line(str(error)), diagnosis=stored.id)
        return answers.where(stored.diagnosis, stored.id, image, heat)

    async def ask(
        self,
        diagnosis_id: str,
        text: str,
        *,
        person: str,
        channel: str,
        image: AgainImage | None = None,
        before: Before = nothing_before,
    ) -> Reply:
        """Answer a question about a diagnosis from its record: by rules, else by a language model if there is one.

        Args:
            person, channel: who asks, and where, as for `diagnose`.
            image: gets the image, for a person who wants it looked at again; None: it is gone. The recorded source is
                never opened: it may be a name that somebody made up.
            before: gets what it is compared with, for a person who wants that.
        """
        stored = await self._stored(diagnosis_id)
        diagnosis = stored.diagnosis
        agents = [prediction.agent for prediction in diagnosis.predictions]
        question = recognised(text, agents, tuple(diagnosis.posterior))
        if question is not None and question.kind == "again":
            return await self._look_again(stored, person, channel, image)
        if question is not None and question.is_plain:
            return await self._by_rules(stored, question, before)
        return await self._by_model(stored, text, question, before)

    async def press(self, diagnosis_id: str, action: str, value: str = "", *, person: str) -> Reply:
        """Take a person's vote, refer the image to others, or show where the agents looked.

        Args:
            action: "right", "wrong" or "label" with what the image shows as `value`, "none" for none of the task's
                labels, "unsure" for who cannot tell, "refer", or "where" to see where the agents looked.
        """
        if action == "where":
            return await self.where(diagnosis_id)
        if action == "unsure":
            return Reply(UNSURE, diagnosis=diagnosis_id)
        if action == "refer":
            return await self._refer(diagnosis_id, person)
        answers = {"right": None, "wrong": value, "label": value, "none": NONE_OF_THESE}
        if action not in answers:
            raise ConsilienceError(f"there is no button '{action}'")
        label = answers[action]
        vote = await asyncio.to_thread(self.feedbacks.give, diagnosis_id, person, label)
        votes = await asyncio.to_thread(self.feedbacks.of, diagnosis_id)
        return Reply(saved_words(vote, [other for other in votes if other.person != person]), diagnosis=diagnosis_id)

    async def fallen_agents(self) -> dict[str, str]:
        """Return the agents that have become worse since `fit`, each with a sentence that says so."""
        panel, seed = self.diagnoser.panel, self.diagnoser.settings.seed
        compared = await asyncio.to_thread(drift, panel, self.history, seed=seed)
        return {look_name(fallen.agent, fallen.stage): answers.fallen_sentence(fallen) for fallen in compared.fallen}

    async def shifted_sources(self) -> dict[str, str]:
        """Return the sources whose images differ from the labelled ones, each with a sentence that says so."""
        streams = await asyncio.to_thread(self.streams.all, self.diagnoser.shift_reference)
        return {stream.source: source_sentence(stream.source) for stream in streams if stream.alarm}

    def _diagnosis_reply(self, stored: StoredDiagnosis) -> Reply:
        labels, image = self.diagnoser.panel.task.names, stored.diagnosis.image
        return answers.diagnosis_reply(stored.diagnosis, stored.id, image, labels, can_refer=self.refer is not None)

    async def _keep(self, diagnosis: Diagnosis, person: str, channel: str, source: str) -> StoredDiagnosis:
        return await self._keeping((diagnosis, channel, person, source))

    def _keep_many(self, requests: Sequence[tuple[Diagnosis, str, str, str]]) -> list[StoredDiagnosis]:
        """Keep diagnoses, each with its channel, person and source; under the alarm of the source, if there is one."""
        watched = [(diagnosis, source) for diagnosis, _, _, source in requests]
        alarms = self.streams.observe(self.diagnoser.shift_reference, watched)
        on_shift = self.diagnoser.settings.policy.on_shift
        return self.history.keep_many(
            (under_alarm(diagnosis, REASON) if alarm and on_shift == "refer" else diagnosis, channel, person)
            for (diagnosis, channel, person, _), alarm in zip(requests, alarms, strict=True)
        )

    async def _stored(self, diagnosis_id: str) -> StoredDiagnosis:
        """Return a diagnosis with the pictures of its similar cases, as far as the panel still holds them."""
        stored = await asyncio.to_thread(self.history.get, diagnosis_id)
        thumbnail = self.diagnoser.memory.labelled_images.thumbnail
        evidence = Evidence.from_dict(stored.diagnosis.evidence.to_dict(), thumbnail)
        return replace(stored, diagnosis=replace(stored.diagnosis, evidence=evidence))

    async def _by_rules(self, stored: StoredDiagnosis, question: ChatQuestion, before: Before) -> Reply:
        diagnosis, id = stored.diagnosis, stored.id
        match question.kind:
            case "similar":
                return answers.similar(diagnosis, id, await _thumbnail(stored))
            case "where":
                return await self.where(id)
            case "compare":
                earlier = await before()
                return compared(diagnosis, (await self._stored(earlier)).diagnosis if earlier else None, id)
        can_refer = self.refer is not None
        return await asyncio.to_thread(
            answer_from_records, question, diagnosis, id, self.diagnoser, can_refer=can_refer
        )

    async def _heat(
        self, stored: StoredDiagnosis, label: str | None = None, other: str | None = None
    ) -> tuple[HeatMap, Image]:
        """Return where the agents looked, and the small picture in which that was found out."""
        image = await _thumbnail(stored)
        if image is None:  # its source is not opened: see `ask`
            raise HeatMapError("no picture of the image was kept, so it cannot be shown where in it the agents looked")
        diagnosis = replace(stored.diagnosis, image=image)
        return await asyncio.to_thread(self.diagnoser.heat, diagnosis, label, other), image

    async def _by_model(
        self, stored: StoredDiagnosis, text: str, question: ChatQuestion | None, before: Before
    ) -> Reply:
        """Answer by the language model; by rules where there is none, or where its answer cannot be used."""
        note, model = "", self._model()
        if model is not None:
            seconds = self.diagnoser.settings.policy.agent_timeout_seconds
            try:
                answer = await model.answer(stored.diagnosis, text, seconds)
                return Reply(in_its_words(answer), diagnosis=stored.id)
            except AgentError as error:
                note = f"The language model was not used: {clean(str(error))}."
        known = not_understood(stored.diagnosis, stored.id)
        if question is not None:
            known = await self._by_rules(stored, question, before)
        return replace(known, closing=note)

    def _model(self) -> FollowUp | None:
        """Return the language model that settings or panel name; it holds connections, so it is made once."""
        panel = self.diagnoser.panel
        settings = self.diagnoser.settings.reasoner
        if settings is None:
            return None
        if self._follow_up is None or self._follow_up.task is not panel.task:
            self._follow_up = FollowUp(settings, panel.task, self.diagnoser.budget)
        return self._follow_up

    async def _look_again(self, stored: StoredDiagnosis, person: str, channel: str, image: AgainImage | None) -> Reply:
        if image is None:
            raise ImageError("the image was not kept: send it once more to have it looked at again")
        source = await image()
        name = one_line(stored.diagnosis.source)
        loaded = await asyncio.to_thread(load_image, source, self.diagnoser.settings.images, name)
        if loaded.identity != stored.diagnosis.identity:
            raise ImageError(f"'{name}' is not the image that was diagnosed: send it as a new image")
        diagnosis = await self.diagnoser.adiagnose(loaded, revise=True)
        kept = await self._keep(diagnosis, person, channel, source_of(diagnosis, channel))
        reply = self._diagnosis_reply(kept)
        return answers.second_look_reply(kept.diagnosis, stored.diagnosis, reply)

    async def _refer(self, diagnosis_id: str, person: str) -> Reply:
        stored, shown = await self._stored(diagnosis_id), await self.show(diagnosis_id)
        labels = self.diagnoser.panel.task.names
        shown = replace(shown, buttons=answers.referral_buttons(stored.diagnosis, labels))
        if self.refer is None:
            return Reply("Nobody is set up here to refer images to (option --refer-to).", diagnosis=diagnosis_id)
        return Reply(f"Referred to {one_line(await self.refer(shown, person))}.", diagnosis=diagnosis_id)


async def _thumbnail(stored: StoredDiagnosis) -> Image | None:
    if stored.thumbnail is None:
        return None
    return await asyncio.to_thread(load_image, stored.thumbnail, name=f"thumbnail {stored.id}")
