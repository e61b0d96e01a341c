"""Where the groups of a panel's images come from: given, found, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

How: TypeAlias = Literal["given", "found", "none"]


@dataclass(frozen=True, slots=True)
class Grouping:
    """How images are put into groups, each the images of one thing.

    Attributes:
        how: 'given' by a manifest or a pattern; 'found' from the images themselves; 'none': each image by itself.
        rule: if given, the pattern as the user wrote it, 'parent', or 'manifest'; if found, in words what counts.
        distance: if found, the cosine distance, in [0, 2], up to which vectors are taken for one thing; else None.

    Raises:
        ValueError: `how` is another word, or `distance` is not in its range.
    """

    how: How = "none"
    rule: str = ""
    distance: float | None = None

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ValueError(f"images are grouped by {', '.join(get_args(How))}, not {self.how!r}")
        if self.distance is not None and not 0 <= self.distance <= 2:
            raise ValueError(f"a cosine distance lies in [0, 2], not {self.distance!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"how": self.how, "rule": self.rule, "distance": self.distance}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote.

        Raises:
            KeyError, ValueError: it is not such a record.
        """
        return cls(data["how"], data["rule"], data["distance"])


NO_GROUPING = Grouping()
"""Each image by itself."""
