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

MAX_PASSED_ON = 3
"""Messages inside one another that are searched for images."""


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
    has answered. A mention comes twice, as `app_mention` and as `message`: the keys are the same. The first may come
    before its images do: the key of a question is none of an image.

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
    if not is_meant and not (is_known_thread and _is_question(words)):
        return []
    thread = str(event.get("thread_ts") or ts)
    asked = SlackRequest(f"{channel}:{ts}:ask", "ask", person, channel, ts, thread, is_direct, text=words)
    links = [html.unescape(url) for url in _LINK.findall(text)]
    images = dict.fromkeys([*_files(event), *(("", url, "") for url in links)]) if is_meant else {}
    looks = [
        replace(asked, key=f"{channel}:{ts}:{number}", kind="look", file=file, url=url, name=name, text="")
        for number, (file, url, name) in enumerate([*images][:MAX_IMAGES])
    ]
    return looks or [asked]


def _is_question(words: str) -> bool:
    """Return whether people who talk in a thread ask the bot something: plainly, and more than to thank it."""
    question = recognised(words) if words else None
    return question is not None and question.is_plain and question.kind != "thanks"


def has_images(event: Mapping[str, Any]) -> bool:
    """Return whether a message, or one that it passes on, has uploaded files or shown images."""
    return bool(_files(event))


def _files(message: Mapping[str, Any], depth: int = 0) -> list[tuple[str, str, str]]:
    """Return id, address and name of each file of a message, and of those that it shares or passes on.

    A message that is passed on comes as an attachment, with its files or with its blocks.
    """
    found = [
        (
            str(file.get("id") or ""),
            str(file.get("url_private_download") or file.get("url_private") or ""),
            source_name(str(file.get("name") or file.get("id") or "image")),
        )
        for file in _mappings(message.get("files"))
    ]
    if depth > MAX_PASSED_ON:
        return found
    for attachment in _mappings(message.get("attachments")):
        is_passed_on = attachment.get("is_share") or attachment.get("is_msg_unfurl") or attachment.get("message_blocks")
        if is_passed_on and isinstance(url := attachment.get("image_url"), str) and not attachment.get("files"):
            found.append(("", url, ""))
        found += _files(attachment, depth + 1) if is_passed_on else []
        for block in _mappings(attachment.get("message_blocks")):
            inner = block.get("message")
            found += _files(inner, depth + 1) if isinstance(inner, Mapping) else []
    for block in _mappings(message.get("blocks")):
        file = block.get("slack_file")
        if block.get("type") == "image" and isinstance(file, Mapping):
            found.append((str(file.get("id") or ""), str(file.get("url") or ""), "image"))
        elif block.get("type") == "image" and isinstance(url := block.get("image_url"), str):
            found.append(("", url, ""))
    return [file for file in found if file[0] or file[1]]


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


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
        action=name.partition(":")[0],
        value=str(chosen.get("value") or action.get("value") or ""),
    )


def is_of_team(body: Mapping[str, Any], team: str) -> bool:
    """Return whether what Slack sent happened where the bot is installed; `team`: its id.

    An event says for which teams' bots it is: in a channel that several share, it may have happened in another.
    """
    if authorized := _mappings(body.get("authorizations")):
        return any(bot.get("team_id") == team for bot in authorized)
    place = body.get("team")
    return (place.get("id") if isinstance(place, Mapping) else body.get("team_id")) == team
