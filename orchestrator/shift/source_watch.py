"""The watch on one source of images: whether those that come from there are still like the labelled ones.

Images of a burst, and one image sent again, count once. An alarm holds until labelled images change what is compared
with: then the watch starts again, first with the last images of the source, so that it is lifted only where these are
no longer strange. It is lifted, too, when as many images as are kept came since, and a test finds them like the
labelled ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from consilience.orchestrator.shift.martingale import OnlineRanks, ShiftMartingale, chances_of
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.two_sample import BatchShift, compared
from consilience.retrieval.encoders.encoder import Vectors

KEPT = 50
"""The last images that counted, whose vectors are kept."""

LIKE_LABELLED_P = 0.05
"""The last images are like the labelled ones again if the test against them says at least this."""


@dataclass(frozen=True)
class SeenImage:
    """An image that counted.

    Attributes:
        number: which of the source's images it is, from 1.
        identity, name: of the image.
        vector: float32 (d,), of unit length.
    """

    number: int
    identity: str
    name: str
    vector: Vectors


@dataclass
class SourceWatch:
    """The watch on one source, against one reference.

    Attributes:
        reference: what its images are compared with.
        seen: images that came. counted: those of them that were neither labelled nor shown already.
        alarm_at: how many counted when the alarm was raised; None: there is none.
        martingale, ranks: see there.
        recent: the last images that counted, at most KEPT, the oldest first.
    """

    reference: ShiftReference
    seen: int = 0
    counted: int = 0
    alarm_at: int | None = None
    martingale: ShiftMartingale = field(default_factory=ShiftMartingale)
    ranks: OnlineRanks = field(init=False)
    recent: tuple[SeenImage, ...] = ()

    def __post_init__(self) -> None:
        self.ranks = OnlineRanks(self.reference.held_classes())

    @property
    def alarm(self) -> bool:
        """Return whether the images of the source are known to differ from the labelled ones."""
        return self.alarm_at is not None

    def recent_shift(self) -> BatchShift:
        """Return whether the last images, taken together, differ from the labelled ones."""
        apart = self.recent[:: self._images_a_thing]
        vectors = np.array([image.vector for image in apart], np.float32).reshape(len(apart), -1)
        return compared(self.reference, vectors)

    def observe(self, identity: str, name: str, vector: Vectors) -> bool:
        """Take the next image of the source, and return whether it counted."""
        self.seen += 1
        is_labelled = identity in self.reference.ids
        if is_labelled or self._is_shown_already(identity, vector):
            return False
        self._compare(SeenImage(self.seen, identity, name, vector))
        if self.alarm_at is not None and self.counted > self.alarm_at and (self.counted - self.alarm_at) % KEPT == 0:
            shift = self.recent_shift()
            if shift.p is not None and shift.p >= LIKE_LABELLED_P:
                self._begin()
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `restored` takes; not the recent images."""
        return {
            "reference": self.reference.key,
            "seen": self.seen,
            "counted": self.counted,
            "alarm_at": self.alarm_at,
            "martingale": self.martingale.to_dict(),
            "ranks": self.ranks.to_dict(),
        }

    @classmethod
    def restored(cls, reference: ShiftReference, data: Mapping[str, Any], recent: Sequence[SeenImage]) -> Self:
        """Restore what `to_dict` returned; where the reference is another, begin again with the recent images.

        Args:
            recent: the images that were recent then, of the reference's encoder.
        """
        watch = cls(reference, int(data["seen"]), int(data["counted"]))
        if data["reference"] != reference.key:
            watch.counted = 0
            for image in recent:
                if image.identity not in reference.ids:
                    watch._compare(image)
            return watch
        watch.alarm_at = data["alarm_at"]
        watch.martingale = ShiftMartingale.from_dict(data["martingale"])
        watch.ranks = OnlineRanks.restore(watch.ranks.held, data["ranks"])
        watch.recent = tuple(recent)
        return watch

    @property
    def _images_a_thing(self) -> int:
        return max(round(self.reference.images_a_group), 1)

    def _begin(self) -> None:
        self.alarm_at = None
        self.martingale, self.ranks = ShiftMartingale(), OnlineRanks(self.ranks.held)

    def _compare(self, image: SeenImage) -> None:
        self.recent = (*self.recent, image)[-KEPT:]
        self.counted += 1
        if (self.counted - 1) % self._images_a_thing:
            return  # where people said that so many images show one thing, one of them is compared
        scores = self.reference.scores(image.vector[None])
        (chance,) = chances_of([f"{self.reference.key} {image.number} {image.identity}"])
        p_value, share = self.ranks.p_value(int(scores.classes[0]), int(scores.cell[0]), chance)
        self.martingale.bet(p_value, share)
        if self.martingale.alarm and self.alarm_at is None:
            self.alarm_at = self.counted

    def _is_shown_already(self, identity: str, vector: Vectors) -> bool:
        if not self.recent:
            return False
        nearest = max(float(image.vector @ vector) for image in self.recent)
        return nearest >= 1.0 - self.reference.same_thing or any(image.identity == identity for image in self.recent)
