"""Tells a channel when an agent has become worse: once, until it has become better again."""

from __future__ import annotations

import asyncio
import logging

from consilience.core.errors import ConsilienceError
from consilience.frontends.chat.chat import Chat
from consilience.frontends.slack.blocks import plain
from consilience.frontends.slack.inbox import Inbox
from consilience.frontends.slack.slack_api import Api

log = logging.getLogger(__name__)

SECONDS = 600.0
"""Between two looks."""


async def watch(chat: Chat, api: Api, journal: Inbox, channel: str) -> None:
    """Look for ever. What was told is in the journal: a restart does not tell it again."""
    while True:
        try:
            await _look(chat, api, journal, channel)
        except ConsilienceError as error:
            log.warning("whether an agent has become worse could not be told: %s", error)
        await asyncio.sleep(SECONDS)


async def _look(chat: Chat, api: Api, journal: Inbox, channel: str) -> None:
    fallen, told = await chat.drifted(), journal.told()
    for name in told - fallen.keys():
        journal.untell(name)
    for name, words in fallen.items():
        if name not in told:
            await api.post(channel, None, {"text": plain(words)})
            journal.tell(name)  # only now: after a kill in between, people are told twice rather than never
