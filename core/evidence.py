"""The evidence that the image memory returns for an image: its most similar labelled cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consilience.core.prediction import Prediction, check_distribution


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One labelled case of the image memory that is similar to the image in question.

    Attributes:
        id: identity of the image (hash of its decoded pixels).
        label: its label.
        similarity: cosine similarity to the image in question, in [-1, 1]; higher = more similar.
        source: the path or address it came from; it may be gone.
    """

    id: str
    label: str
    similarity: float
    source: str = ""
    _thumbnail: Callable[[str], bytes | None] | None = field(default=None, repr=False, compare=False)

    def thumbnail(self) -> bytes | None:
        """Return a small JPEG of the case, read from the panel when asked for; None if none was kept."""
        return self._thumbnail(self.id) if self._thumbnail is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without the picture."""
        return {"id": self.id, "label": self.label, "similarity": float(self.similarity), "source": self.source}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The labelled cases most similar to an image, and their labels' shares.

    Attributes:
        neighbours: most similar first.
        distribution: share of each label among the neighbours, weighted by similarity, in the task's
            order; sums to 1, or is empty where there are no neighbours.
        testimony: what other agents said at first; only for an agent that debates.

    Raises:
        ValueError: the distribution is neither empty nor sums to 1.
    """

    neighbours: tuple[Neighbour, ...]
    distribution: Mapping[str, float]
    testimony: tuple[Prediction, ...] = ()

    def __post_init__(self) -> None:
        if self.distribution:
            check_distribution(self.distribution, "the evidence")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the graph's state and for JSON; `from_dict` restores it."""
        return {
            "neighbours": [neighbour.to_dict() for neighbour in self.neighbours],
            "distribution": {label: float(share) for label, share in self.distribution.items()},
            **({"testimony": [prediction.to_dict() for prediction in self.testimony]} if self.testimony else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], thumbnail: Callable[[str], bytes | None] | None = None) -> Evidence:
        """Return the evidence whose `to_dict` returned `data`.

        Args:
            data: plain data.
            thumbnail: returns the JPEG of a case by its id, None if there is none; None: no case has one.

        Raises:
            KeyError: a field is missing.
            ValueError: a value is out of its range.
        """
        neighbours = tuple(Neighbour(**neighbour, _thumbnail=thumbnail) for neighbour in data["neighbours"])
        testimony = tuple(Prediction.from_dict(prediction) for prediction in data.get("testimony", ()))
        return cls(neighbours, data["distribution"], testimony)
