"""A reply in a conversation, which terminal, Slack and web page show in their own ways.

Its texts hold no control characters and are not escaped: whoever shows them escapes them for its own medium.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

WHERE_PICTURE = "where.png"
"""Name of the picture that shows where the agents looked."""


@dataclass(frozen=True, slots=True)
class ReplyTable:
    """A table of texts: `columns` are the names, and the first cell of each row says what it is about."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ReplyPicture:
    """A PNG that is drawn when it is wanted.

    Attributes:
        name: as a file, 'evidence.png'.
        alt_text: what it shows, for those who cannot see it.
        draw: the bytes of the PNG; takes up to a second of one core, so call it in a thread.
    """

    name: str
    alt_text: str
    draw: Callable[[], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Button:
    """Something that a person can press.

    Attributes:
        text: the words on it.
        action: for `Chat.press`: "right", "wrong", "label", "none", "unsure", "refer" or "where".
        choices: labels to choose one of, for `Chat.press` as `value`; empty for a plain button.
        value: the label that a plain button stands for, for `Chat.press`; empty for one that stands for none.
    """

    text: str
    action: str
    choices: tuple[str, ...] = ()
    value: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One turn of the conversation.

    Attributes:
        text: what to read first; may have several lines.
        table: what each agent says, or the like.
        pictures: to be shown below it.
        closing: what to read last, such as the rationale; may be empty.
        buttons: to be offered below it.
        diagnosis: the id of the diagnosis that it is about, under which one may go on asking; empty if none is.
        settled: whether that diagnosis needs no person; None where the reply is about something else.
    """

    text: str
    table: ReplyTable | None = None
    pictures: tuple[ReplyPicture, ...] = ()
    closing: str = ""
    buttons: tuple[Button, ...] = ()
    diagnosis: str = ""
    settled: bool | None = None
