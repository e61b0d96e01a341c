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

from consilience.orchestrator.shift.martingale import OnlineRanks, ShiftMartingale
from consilience.orchestrator.shift.shift_reference import ShiftReference, chances, classes_of
from consilience.orchestrator.shift.two_sample import BatchShift, compared
from consilience.retrieval.encoders.encoder import Vectors

KEPT = 50
"""The last images that counted, whose vectors are kept."""

ROUNDING = 1e-3
"""Cosine distance up to which two vectors are one image's: they are kept in half precision."""

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
        seen: images that came. counted: those of them that were compared: neither labelled nor of a thing shown before.
        alarm_at: how many had counted when the alarm was raised; None: there is none.
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
        self.ranks = OnlineRanks.beside(self.reference.held_classes())

    @property
    def alarm(self) -> bool:
        """Return whether the images of the source are known to differ from the labelled ones."""
        return self.alarm_at is not None

    def recent_shift(self) -> BatchShift:
        """Return whether the last images that were compared differ from the labelled ones, all together."""
        vectors = np.array([image.vector for image in self.recent], np.float32)
        names = [str(image.number) for image in self.recent]  # each is of a group of its own
        return compared(self.reference, vectors.reshape(len(self.recent), self.reference.known.shape[1]), groups=names)

    def observe(self, identity: str, name: str, vector: Vectors) -> bool:
        """Take the next image of the source, and return whether it was compared."""
        self.seen += 1
        follows = bool(self.recent) and self.seen - self.recent[-1].number < self.reference.images_a_thing
        if identity in self.reference.ids or follows or self._is_shown_already(vector):
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
        watch.ranks = OnlineRanks.restored(watch.ranks.held, data["ranks"])
        watch.recent = tuple(recent)
        return watch

    def _begin(self) -> None:
        self.alarm_at = None
        self.martingale, self.ranks = ShiftMartingale(), OnlineRanks.beside(self.ranks.held)

    def _compare(self, image: SeenImage) -> None:
        self.recent = (*self.recent, image)[-KEPT:]
        self.counted += 1
        (score_class,) = classes_of(self.reference.scores(image.vector[None])).tolist()
        (chance,) = chances([f"{self.reference.key} {image.number} {image.identity}"]).tolist()
        self.martingale.bet(self.ranks.p_value(score_class, chance))
        if self.martingale.alarm and self.alarm_at is None:
            self.alarm_at = self.counted

    def _is_shown_already(self, vector: Vectors) -> bool:
        nearest = max((float(image.vector @ vector) for image in self.recent), default=-1.0)
        return nearest >= 1.0 - max(self.reference.same_thing, ROUNDING)
