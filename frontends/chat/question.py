"""What a person asks about a diagnosis, recognised by rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from consilience.core.task import plain

Kind = Literal["help", "without", "where", "again", "similar", "who", "sure", "why"]

_RULES: tuple[tuple[Kind, str], ...] = (  # the first that fits, fits
    ("help", r"^(help|what (else )?can (i|you)\b.*)$"),
    ("without", r"\b(without|ignor\w+|exclud\w+|leav\w* out|(don'?t|do not|did not|didn'?t|not) trust|distrust\w*)\b"),
    (
        "where",
        r"\bwhere\b.*\b(look\w*|see|sees|saw)\b|\bheat ?maps?\b|\b(which|what) (regions?|parts?|areas?) (of|in)\b",
    ),
    ("again", r"\b(look|check|try|diagnose|think)\b.*\bagain\b|\bsecond look\b|\bre ?(check|look|evaluate|diagnose)\b"),
    ("similar", r"\b(similar|neighbou?rs?|cases?|evidence|examples?|alike)\b"),
    ("who", r"\b(who|which agents?|agents|disagree\w*|dissent\w*|against|votes?)\b"),
    ("sure", r"\b(sure|certain|certainty|confidence|confident|likely|probabilit\w+|probable|posterior|odds)\b"),
    ("why", r"\b(why|how come|explain\w*|reasons?|rationale)\b"),
)

MAX_PLAIN_WORDS = 8
"""Words of a question at most that rules are sure to understand."""


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question that rules can answer.

    Attributes:
        kind: what it asks for.
        agents: those of the diagnosis that it names, in the diagnosis' order.
        is_plain: whether it says little more than that, so that nothing of it is lost in a rule's answer.
    """

    kind: Kind
    agents: tuple[str, ...]
    is_plain: bool


def recognised(text: str, agents: Sequence[str]) -> ChatQuestion | None:
    """Return the question in a text; None if no rule fits.

    Args:
        agents: names that the text may mention.

    >>> recognised("What if you don't trust qwen?", ["gaussian", "qwen"])
    ChatQuestion(kind='without', agents=('qwen',), is_plain=True)
    """
    words = plain(text.replace("’", "'")).strip(" ?!.")
    kind = next((kind for kind, rule in _RULES if re.search(rule, words)), None)
    if kind is None:
        return None if words else ChatQuestion("help", (), True)
    is_plain = kind in ("help", "without", "again") or len(words.split()) <= MAX_PLAIN_WORDS
    return ChatQuestion(kind, _named(words, agents), is_plain)


def _named(words: str, agents: Sequence[str]) -> tuple[str, ...]:
    """Return the agents that are named; a name that is a part of a longer one does not count inside it."""
    named: set[str] = set()
    for agent in sorted(set(agents), key=lambda name: -len(plain(name))):
        words, count = re.subn(rf"(?<!\w){re.escape(plain(agent))}(?!\w)", "\n", words)
        named |= {agent} if count else set()
    return tuple(name for name in dict.fromkeys(agents) if name in named)
