"""What a person asks about a diagnosis, recognised by rules: by the words of `intents`, however they are spelled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from consilience.core.task import plain
from consilience.frontends.chat.intents import COMPILED, SHORT, VOCABULARY, Kind

MAX_PLAIN_WORDS = 8
"""Words of a question at most that rules are sure to understand."""

MAX_WORDS = 60
"""Words of a text that are read for what it asks."""

ALIKE = 0.82
"""Share of letters in common from which a word counts as another one misspelt (`difflib`)."""

LEAST_LETTERS = 4
"""Of a word that may be misspelt: shorter ones are one letter from too many others."""

LEAST_BEGINNING = 3
"""Letters of the beginning of a label's name that may stand for it."""


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question that rules can answer.

    Attributes:
        kind: what it asks for.
        agents: those of the diagnosis that it names, in the diagnosis' order.
        labels: those of the diagnosis that it names, likewise; an unambiguous beginning is enough.
        is_plain: whether it says little more than that, so that nothing of it is lost in a rule's answer.
    """

    kind: Kind
    agents: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    is_plain: bool = True


def recognised(text: str, agents: Sequence[str] = (), labels: Sequence[str] = ()) -> ChatQuestion | None:
    """Return the question in a text; None if no rule fits.

    Args:
        agents, labels: names that the text may mention.

    >>> recognised("wat if you dont trust qwen", ["gaussian", "qwen"])
    ChatQuestion(kind='without', agents=('qwen',), labels=(), is_plain=True)
    """
    words = _WORD.findall(_APOSTROPHES.sub("", plain(text)))[:MAX_WORDS]
    if not words:
        return ChatQuestion("help")
    read, named_agents, named_labels = _read(words, agents, labels)
    fitting = [(kind, len(cue)) for kind, cue in COMPILED if _holds(read, cue)]
    if not fitting:
        return None
    kind = max(fitting, key=lambda fit: fit[1])[0]  # of equals the first
    is_plain = kind in ("help", "without", "again") or len(words) <= MAX_PLAIN_WORDS
    return ChatQuestion(kind, named_agents, named_labels, is_plain)


_WORD = re.compile(r"\w+")
_APOSTROPHES = re.compile("['’‘`´]")

_BEFORE_A_NAME = frozenset(("about", "at", "be", "for", "is", "it", "maybe", "not", "of", "say", "said", "with"))
"""Words after which a word that is a cue and a label's name, such as 'good', is the name."""


def _read(
    words: Sequence[str], agents: Sequence[str], labels: Sequence[str]
) -> tuple[list[frozenset[str]], tuple[str, ...], tuple[str, ...]]:
    """Return what each word may be read as, and the agents and labels that are named."""
    known = {name: ("AGENT", _WORD.findall(plain(name))) for name in agents}
    known |= {name: ("LABEL", _WORD.findall(plain(name))) for name in labels}
    read: list[frozenset[str]] = []
    named: set[str] = set()
    place = 0
    while place < len(words):
        name, length = _name_at(words, place, known)
        here = [corrected for word in words[place : place + max(length, 1)] for corrected in _corrected(word)]
        if name and length == 1 and known[name][0] == "LABEL" and here[0] in VOCABULARY:
            name = name if place and words[place - 1] in _BEFORE_A_NAME else ""
        if name:
            named.add(name)
            also = here if length == 1 and here[0] in VOCABULARY else []
            read.append(frozenset([known[name][0], *also]))
        else:
            read += [frozenset([word]) for word in here]
        place += max(length, 1)
    in_order = [tuple(name for name in dict.fromkeys(names) if name in named) for names in (agents, labels)]
    return read, in_order[0], in_order[1]


def _name_at(words: Sequence[str], place: int, known: dict[str, tuple[str, list[str]]]) -> tuple[str, int]:
    """Return the name that stands at a place, and how many words it has there; the longest one, else '' and 0."""
    whole = [
        (len(parts), name) for name, (_, parts) in known.items() if parts and words[place : place + len(parts)] == parts
    ]
    if whole:
        length, name = max(whole, key=lambda found: found[0])
        return name, length
    begun = {name: _begun(words[place:], parts) for name, (what, parts) in known.items() if what == "LABEL" and parts}
    longest = max(begun.values(), default=0)
    candidates = [name for name, length in begun.items() if length == longest]
    return (candidates[0], longest) if longest and len(candidates) == 1 else ("", 0)


def _begun(words: Sequence[str], parts: Sequence[str]) -> int:
    """Return with how many words a text begins as a name does, which may be cut off or misspelt; 0 if it does not."""
    length = 0
    for word, part in zip(words, parts, strict=False):
        is_first = length == 0
        if word != part and (word in VOCABULARY or word in SHORT or not _is_meant(word, part)):
            break
        if is_first and len(word) < LEAST_BEGINNING:
            break
        length += 1
    return length


def _is_meant(word: str, part: str) -> bool:
    return len(word) >= LEAST_BEGINNING and (part.startswith(word) or _nearest(word, (part,)) is not None)


def _corrected(word: str) -> Sequence[str]:
    """Return a word as the cues spell it, several where it stands for several."""
    if word in SHORT:
        return SHORT[word].split()
    return [_spelled(word)]


@lru_cache(maxsize=4096)
def _spelled(word: str) -> str:
    return word if word in VOCABULARY else _nearest(word, VOCABULARY) or word


def _nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the word that is meant by one that is misspelt: it begins alike, and has most letters in common."""
    if not LEAST_LETTERS <= len(word) <= 2 * max(map(len, known)):
        return None
    alike = [other for other in known if other[0] == word[0] and len(other) >= LEAST_LETTERS]
    swapped = [other for other in alike if sorted(other) == sorted(word)]
    return next(iter(swapped or get_close_matches(word, alike, 1, ALIKE)), None)


def _holds(read: Sequence[frozenset[str]], cue: Sequence[frozenset[str]]) -> bool:
    """Return whether words hold a cue: its words in their order."""
    left = iter(read)
    return all(any(word & here for here in left) for word in cue)
