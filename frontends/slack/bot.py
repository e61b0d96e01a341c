"""The bot: answers the requests in the inbox, each person's in order and all people at once."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from consilience.core.errors import ConsilienceError, SlackError
from consilience.core.fetch import Bearer
from consilience.core.render.phrases import one_line
from consilience.frontends.chat.chat import Chat
from consilience.frontends.chat.reply import Reply
from consilience.frontends.chat.suggestions import HELP
from consilience.frontends.slack.blocks import message, plain
from consilience.frontends.slack.files import fetched
from consilience.frontends.slack.inbox import Inbox, InboxError, RequestProgress
from consilience.frontends.slack.request import SlackRequest
from consilience.frontends.slack.slack_api import Api, LostAccess, PassingTrouble

log = logging.getLogger(__name__)

SEEN, DONE, FAILED = "eyes", "white_check_mark", "warning"
"""Reactions to a person's message."""

MAX_PEOPLE_AT_ONCE = 64
"""Requests that are worked on at a time; beyond them people wait for each other."""

RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Waited before each next try while Slack has a problem; the last one for ever."""


class Bot:
    """Takes requests and answers them in Slack.

    Attributes:
        api: Slack's Web API.
        lost: is done, with the cause, when Slack accepts the bot no more.
    """

    def __init__(self, chat: Chat, api: Api, inbox: Inbox, bearer: Bearer) -> None:
        self.chat, self.api, self._inbox, self._bearer = chat, api, inbox, bearer
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._room = asyncio.Semaphore(MAX_PEOPLE_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def resume(self) -> int:
        """Go on with the requests that were not answered when the bot stopped, and return how many there are.

        Messages that were answered, but lack the reaction that says so, get it.
        """
        for request, reaction, is_last in self._inbox.reactions_due():
            self._spawn(self._react(request, reaction, is_last))
        waiting = [progress.request for progress in self._inbox.unanswered()]
        self._begin(waiting, is_begun=True)
        return len(waiting)

    async def receive(self, requests: Sequence[SlackRequest]) -> None:
        """Write requests down and begin with the new ones; afterwards Slack may be told that they have arrived."""
        self._begin(await asyncio.to_thread(self._inbox.receive, requests))

    async def close(self) -> None:
        """Stop; what is not answered is taken up at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, requests: Sequence[SlackRequest], is_begun: bool = False) -> None:
        """Answer each in its person's turn; a reaction says at once that their messages are seen.

        Args:
            is_begun: whether it was begun with before, and may have got further than the inbox knows.
        """
        seen: dict[tuple[str, str], asyncio.Task[None]] = {}
        for request in requests:
            place = (request.channel, request.message)
            if request.kind != "press" and place not in seen:
                seen[place] = self._spawn(self._politely(self.api.react(*place, on=SEEN)))
            self._spawn(self._in_turn(request, seen.get(place), is_begun))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def _in_turn(self, request: SlackRequest, seen: asyncio.Task[None] | None, is_begun: bool) -> None:
        async with self._turns[request.person], self._room:
            if seen is not None:
                await seen
            tries = 0
            while not self.lost.done():
                try:
                    return await self._answer(self._inbox.progress(request.key), is_begun or tries > 0)
                except (PassingTrouble, InboxError) as trouble:
                    log.warning("%s", trouble)
                    await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                    tries += 1
                except LostAccess as error:
                    self._lose(error)
                except Exception as error:  # Slack refuses the answer itself, or a library failed
                    log.error("giving up on a request: %s", error, exc_info=not isinstance(error, ConsilienceError))
                    return await self._conclude(request, FAILED)
        return None

    async def _politely(self, courtesy: Coroutine[Any, Any, None]) -> None:
        """Do what is not worth a second try."""
        try:
            await courtesy
        except LostAccess as error:
            self._lose(error)
        except ConsilienceError as error:
            log.warning("%s", error)

    def _lose(self, error: LostAccess) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)

    async def _answer(self, progress: RequestProgress, is_begun: bool) -> None:
        """Answer one request: a message that says so at once, and becomes the answer."""
        request = progress.request
        key, channel = request.key, request.channel
        bot_message = progress.bot_message
        if not bot_message and is_begun:  # it may have been posted, and the bot stopped before it knew
            bot_message = await self.api.posted(channel, request.thread, key)
        if not bot_message:
            _, bot_message = await self.api.post(channel, request.thread, {"text": plain(_at_work(request))}, key)
        if bot_message != progress.bot_message:
            self._inbox.record_message(key, bot_message)
        reaction = DONE
        try:
            reply = await self._reply(progress)
        except (PassingTrouble, LostAccess, InboxError):
            raise
        except ConsilienceError as error:
            reply, reaction = Reply(one_line(str(error), 2000)), FAILED
        except Exception as error:
            log.exception("a request failed", exc_info=error)
            reply, reaction = Reply("Something went wrong; the bot's log says what. Please try again."), FAILED
        if not progress.is_pictured:
            await self._show(reply, request)
        await self.api.update(channel, bot_message, message(reply))
        await self._conclude(request, reaction)

    async def _conclude(self, request: SlackRequest, reaction: str) -> None:
        """Record that a request needs no more work, and show it on the person's message."""
        due = "" if request.kind == "press" else reaction
        is_last = self._inbox.record_answer(request.key, due)
        if due:
            await self._react(request, due, is_last)

    async def _react(self, request: SlackRequest, reaction: str, is_last: bool) -> None:
        """React to a message when all of it is answered, and at once when something failed."""
        if is_last or reaction == FAILED:
            off = SEEN if is_last else ""
            await self._politely(self.api.react(request.channel, request.message, on=reaction, off=off))
        self._inbox.record_reaction(request.key)

    async def _show(self, reply: Reply, request: SlackRequest) -> None:
        """Put the pictures into the thread; an answer without them is still one."""
        try:
            for picture in reply.pictures:
                png = await asyncio.to_thread(picture.draw)
                await self.api.show(request.channel, request.thread, picture.name, png, picture.alt_text)
        except (PassingTrouble, LostAccess):
            raise
        except ConsilienceError as error:
            log.warning("%s", error)
        self._inbox.record_picture(request.key)

    async def _reply(self, progress: RequestProgress) -> Reply:
        request = progress.request
        if progress.diagnosis:  # made before a restart
            return await self.chat.show(progress.diagnosis)
        if request.kind == "press":
            return await self._pressed(request)
        if request.kind == "look":
            data, name = await self._image(request)
            reply = await self.chat.look(
                data, person=request.person, channel="slack", name=name, source=request.channel
            )
            self._inbox.record_diagnosis(request.key, reply.diagnosis)
            return reply
        return await self._asked(request)

    async def _asked(self, request: SlackRequest) -> Reply:
        about = self._inbox.latest(request.channel, request.thread)
        if not about and request.is_direct:
            about = self._inbox.latest(request.channel, None)
        if not about:
            return Reply(HELP)

        async def again() -> bytes:
            origin = self._inbox.origin(about)
            if origin is None:
                raise ConsilienceError("the image is no longer known here: upload it again")
            return (await self._image(origin))[0]

        async def before() -> str:
            return self._inbox.before(about)

        reply = await self.chat.ask(
            about, request.text, person=request.person, channel="slack", image=again, before=before
        )
        if reply.diagnosis != about:
            self._inbox.record_diagnosis(request.key, reply.diagnosis, before=about)
        return reply

    async def _image(self, request: SlackRequest) -> tuple[bytes, str]:
        if request.file and not request.url:
            address = await self.api.file_address(request.file)
            if not address:
                raise ConsilienceError(
                    f"'{request.name}' was deleted from Slack before it could be fetched; upload it again"
                )
            request = replace(request, url=address)
        return await asyncio.to_thread(fetched, request, self.chat.diagnoser.settings.images, self._bearer)

    async def _pressed(self, request: SlackRequest) -> Reply:
        value = request.value
        if request.action == "wrong":  # the menu tells the place of a label, which may be longer than Slack takes
            buttons = (await self.chat.show(request.diagnosis)).buttons
            labels = next(button.choices for button in buttons if button.action == "wrong")
            if not value.isdecimal() or int(value) >= len(labels):
                raise ConsilienceError("this menu is out of date: upload the image again to get a new one")
            value = labels[int(value)]
        return await self.chat.press(request.diagnosis, request.action, value, person=request.person)


class Referral:
    """Posts a diagnosis to a channel where people look at images."""

    def __init__(self, api: Api, inbox: Inbox, channel: str) -> None:
        self._api, self._inbox, self._channel = api, inbox, channel

    async def __call__(self, reply: Reply, person: str) -> str:
        origin = self._inbox.origin(reply.diagnosis)
        where = await self._api.link(origin.channel, origin.message) if origin is not None else ""
        fields = message(reply)
        sentence = f"<@{person}> asks a person to look at an image" + (f": {where}" if where else "")
        fields["blocks"].insert(0, {"type": "section", "text": {"type": "mrkdwn", "text": sentence}})
        channel, ts = await self._api.post(self._channel, None, fields)
        for picture in reply.pictures:
            try:
                png = await asyncio.to_thread(picture.draw)
                await self._api.show(channel, ts, picture.name, png, picture.alt_text)
            except SlackError as error:  # tried again, all of it would be posted twice
                log.warning("%s", error)
        return f"the people in {self._channel}"


def _at_work(request: SlackRequest) -> str:
    if request.kind == "look":
        return f"Looking at {request.name or 'the image'}…"
    return "Saving that…" if request.kind == "press" and request.action != "where" else "Looking it up…"
