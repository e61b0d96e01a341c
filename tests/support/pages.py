"""The README and the pages of docs/, as text: their blocks of code, and the commands that they tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCED = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

_INLINE = re.compile(r"`((?:consilience|make|pip|python -m) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """Code between fences: its language and its text."""

    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command that stands behind a `$`, comments left out."""
        lines = re.findall(r"^\$ (.+)$", self.text, re.MULTILINE)
        return [shlex.split(line, comments=True) for line in lines]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    return [Block(*match) for match in _FENCED.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> Iterator[list[str]]:
    """Return the words of each command that stands behind a `$`, comments left out."""
    for block in blocks(page):
        if block.language in ("console", "bash"):
            yield from block.commands


def mentioned(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command that stands within a sentence or a table."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    for match in _INLINE.findall(text):
        yield shlex.split(match.replace("\n", " "))
