"""Drift watch: tells a channel when an agent has become worse, or the images of a channel come from elsewhere.

Each is told once, until it is over.
"""

from __future__ import annotations

import asyncio
import logging

from consilience.core.errors import ConsilienceError
from consilience.frontends.chat.chat import Chat
from consilience.frontends.slack.blocks import plain
from consilience.frontends.slack.inbox import Inbox
from consilience.frontends.slack.slack_api import Api

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 600.0
"""Between two comparisons."""


async def watch(chat: Chat, api: Api, inbox: Inbox, channel: str) -> None:
    """Compare agents and sources for ever, and tell the channel; the inbox notes it: a restart repeats nothing."""
    while True:
        try:
            await _compare(chat, api, inbox, channel)
        except ConsilienceError as error:
            log.warning("could not check whether agents or images have changed: %s", error)
        await asyncio.sleep(INTERVAL_SECONDS)


async def _compare(chat: Chat, api: Api, inbox: Inbox, channel: str) -> None:
    shifted = {f"source {name}": words for name, words in (await chat.shifted_sources()).items()}
    changes, announced = await chat.fallen_agents() | shifted, inbox.announced()
    for name in announced - changes.keys():
        inbox.remove_announcement(name)
    for name, words in changes.items():
        if name not in announced:
            await api.post(channel, None, {"text": plain(words)})
            inbox.record_announcement(name)  # afterwards: a kill in between tells people twice rather than never
