"""Why images are taken for pictures of one thing, and the groups that follow: links, and what they connect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

Reason: TypeAlias = Literal["copy", "name", "burst", "alike"]
"""Resized or saved again; a name that differs by a mark; taken by one camera within seconds; nearly equal vectors."""

REASON_WORDS: Mapping[Reason, str] = {
    "copy": "a copy, resized or saved again",
    "name": "the name differs by a mark of a copy only",
    "burst": "taken by the same camera within seconds",
    "alike": "looks nearly the same",
}


@dataclass(frozen=True, slots=True)
class Link:
    """Two images that are taken for pictures of one thing.

    Attributes:
        image, other: their identities.
        reason: what speaks for it.

    Raises:
        ValueError: the reason is another word.
    """

    image: str
    other: str
    reason: Reason

    def __post_init__(self) -> None:
        if self.reason not in get_args(Reason):
            raise ValueError(f"images are linked by {', '.join(get_args(Reason))}, not {self.reason!r}")

    def to_list(self) -> list[str]:
        """Return it as JSON values."""
        return [self.image, self.other, self.reason]

    @classmethod
    def from_list(cls, data: Sequence[Any]) -> Self:
        """Return what `to_list` wrote.

        Raises:
            ValueError: it is no such record.
        """
        image, other, reason = data
        return cls(image, other, reason)


class ConnectedImages:
    """Images that are joined by links: who is connected with whom, and by which links.

    Args:
        ids: identities of n images.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._parent = list(range(len(ids)))
        self._links: list[Link] = []

    def join(self, row: int, other: int, reason: Reason) -> None:
        """Connect two images by their rows; a link between images that are connected already is not kept."""
        first, second = sorted((self._root(row), self._root(other)))
        if first != second:
            self._parent[second] = first
            self._links.append(Link(self._ids[row], self._ids[other], reason))

    @property
    def links(self) -> tuple[Link, ...]:
        """Return the links that connect the images: one fewer in each group than it has images."""
        return tuple(self._links)

    def groups(self) -> tuple[str, ...]:
        """Return the name of each image's group: the identity of the group's first image."""
        return tuple(self._ids[self._root(row)] for row in range(len(self._ids)))

    def _root(self, row: int) -> int:
        while (parent := self._parent[row]) != row:
            self._parent[row] = self._parent[parent]
            row = parent
        return row
