"""Requests to the bot, read from what Slack delivers: an image to look at, a question, a button.

Shapes: https://docs.slack.dev/reference/events/message, /app_mention and /interaction-payloads/block_actions-payload.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from consilience.core.render.phrases import source_name
from consilience.frontends.chat.question import recognised

Kind = Literal["look", "ask", "press"]

_MENTION = re.compile(r"<@[A-Z0-9]+(\|[^>]*)?>")
_LINK = re.compile(r"<(https?://[^|>\s]+)(?:\|[^>]*)?>")

MAX_IMAGES = 20
"""Images of one message that are looked at."""


@dataclass(frozen=True, slots=True)
class SlackRequest:
    """One thing that a person wants, with an answer of its own.

    Attributes:
        key: the same whenever Slack delivers it, and never that of another.
        kind: an image to look at, a question, or a button.
        person: id of who wants it.
        channel: id of where.
        message: timestamp of the person's message, or of the bot's that has the button.
        thread: timestamp of the message that heads the thread to answer in.
        is_direct: whether it comes in a direct message.
        file, url, name: of an uploaded image; a link has a `url` alone.
        text: the question.
        diagnosis, action, value: of the button.
    """

    key: str
    kind: Kind
    person: str
    channel: str
    message: str
    thread: str
    is_direct: bool = False
    file: str = ""
    url: str = ""
    name: str = ""
    text: str = ""
    diagnosis: str = ""
    action: str = ""
    value: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, which `from_dict` restores."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SlackRequest:
        """Restore from `to_dict`."""
        return cls(**data)


def from_message(event: Mapping[str, Any], bot: str, is_known_thread: bool) -> list[SlackRequest]:
    """Return the requests in a message or mention; none if the bot is not meant.

    It is meant in direct messages, where it is mentioned, and by a question that it understands in a thread in which it
    has answered. A mention comes twice, as `app_mention` and as `message`: the keys are the same.

    Args:
        event: of Slack, of the type `message` or `app_mention`.
        bot: the bot's user id.
        is_known_thread: whether the bot has answered in the message's thread.
    """
    if event.get("bot_id") or event.get("subtype", "file_share") not in ("file_share", "thread_broadcast"):
        return []
    person, channel, ts = event.get("user"), event.get("channel"), event.get("ts")
    if not (isinstance(person, str) and isinstance(channel, str) and isinstance(ts, str)) or person == bot:
        return []
    text = str(event.get("text") or "")
    words = html.unescape(_MENTION.sub(" ", _LINK.sub(" ", text))).strip()
    is_direct = event.get("channel_type") == "im"
    is_meant = is_direct or f"<@{bot}" in text or event.get("type") == "app_mention"
    if not is_meant and not (is_known_thread and recognised(words, ()) is not None and words):
        return []
    thread = str(event.get("thread_ts") or ts)
    asked = SlackRequest(f"{channel}:{ts}:0", "ask", person, channel, ts, thread, is_direct, text=words)
    images = [*_files(event), *(("", html.unescape(url), "") for url in _LINK.findall(text))] if is_meant else []
    looks = [
        replace(asked, key=f"{channel}:{ts}:{number}", kind="look", file=file, url=url, name=name, text="")
        for number, (file, url, name) in enumerate(images[:MAX_IMAGES])
    ]
    return looks or [asked]


def _files(event: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return id, address and name of each uploaded file."""
    return [
        (
            str(file.get("id") or ""),
            str(file.get("url_private_download") or file.get("url_private") or ""),
            source_name(str(file.get("name") or file.get("id") or "image")),
        )
        for file in event.get("files") or ()
    ]


def from_press(body: Mapping[str, Any]) -> SlackRequest:
    """Return the request in a pressed button or a chosen label, of the blocks that `blocks` makes."""
    [action] = body["actions"]
    diagnosis, name = str(action["block_id"]), str(action["action_id"])
    person, message = str(body["user"]["id"]), body["message"]
    chosen = action.get("selected_option") or {}
    # An image is referred once, whoever wants it; a person's vote may change.
    once = "" if name == "refer" else f":{person}:{action['action_ts']}"
    return SlackRequest(
        f"press:{diagnosis}:{name}{once}",
        "press",
        person,
        str(body["channel"]["id"]),
        str(message["ts"]),
        str(message.get("thread_ts") or message["ts"]),
        diagnosis=diagnosis,
        action=name,
        value=str(chosen.get("value") or ""),
    )
