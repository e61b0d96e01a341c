"""What is said in a conversation, for any door to show in its own way.

Every text in it is on lines of its own, without control characters, and not escaped: a door escapes for its own medium.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReplyTable:
    """Cells under the names of their columns; the first column says what each row is about."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ReplyPicture:
    """A PNG that is drawn when a door wants it.

    Attributes:
        name: as a file, 'evidence.png'.
        words: what it shows, for those who cannot see it.
        draw: the bytes of the PNG; takes up to a second of one core, so call it in a thread.
    """

    name: str
    words: str
    draw: Callable[[], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Button:
    """Something that a person can press.

    Attributes:
        text: what it says.
        action: what `Chat.press` is told: "right", "wrong" or "refer".
        choices: labels to choose one of, which `Chat.press` is told as `value`; empty for a plain button.
    """

    text: str
    action: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One turn of the conversation.

    Attributes:
        text: what to read first; may have several lines.
        table: who said what, or the like.
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
