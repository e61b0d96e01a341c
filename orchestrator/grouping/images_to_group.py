"""Images as grouping sees them: names, times, vectors and small pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consilience.core.exif import Shot
from consilience.orchestrator.grouping.perceptual_hash import Hashes, perceptual_hash
from consilience.retrieval.encoders.encoder import Vectors


@dataclass(frozen=True)
class ImagesToGroup:
    """What is known of n images that are to be put into groups.

    Attributes:
        ids: their identities.
        names: their paths below the labelled folder, that of a label included, with slashes; or their addresses.
        shots: which camera took each, and when.
        vectors: float32 (n, d) of unit length.
        thumbnail: returns the small JPEG of an image by its identity, None where there is none.
    """

    ids: Sequence[str]
    names: Sequence[str]
    shots: Sequence[Shot]
    vectors: Vectors
    thumbnail: Callable[[str], bytes | None]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def pictured(self) -> tuple[NDArray[np.intp], Hashes]:
        """Return the rows of images with a thumbnail, int (m,), and the perceptual hashes of these, uint64 (m,)."""
        pictures = ((row, self.thumbnail(identity)) for row, identity in enumerate(self.ids))
        hashes = {row: perceptual_hash(picture) for row, picture in pictures if picture is not None}
        return np.array([*hashes], dtype=np.intp), np.array([*hashes.values()], dtype=np.uint64)
