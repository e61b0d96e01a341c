"""Several encoders as one: their vectors side by side, and the similarity of two images is the mean of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Sight, Vectors, hash_of
from consilience.retrieval.encoders.eye import eyes_of

BESIDE = " + "
"""Stands between the names of encoders that are used together."""


class SideBySide(Encoder):
    """Two or more encoders that look at each image, which is decoded once.

    The encoders stand in the order of their numbers in a vector.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        """Join encoders.

        Raises:
            EncoderError: two are the same.
        """
        names = [encoder.name for encoder in encoders]
        if twice := [name for name in names if names.count(name) > 1]:
            raise EncoderError(f"The encoder '{twice[0]}' is named twice: a second eye must see otherwise.")
        self._encoders = tuple(encoders)
        self.eyes = eyes_of({encoder.name: encoder.dimension for encoder in encoders})
        self.name = BESIDE.join(names)
        self.dimension = self.eyes[-1].stop
        self.fingerprint = hash_of(*(encoder.fingerprint for encoder in encoders))
        self.has_text = False  # each has a space of its own: texts are embedded eye by eye
        self.chunk = min(encoder.chunk for encoder in encoders)
        self.weight_bytes = sum(encoder.weight_bytes for encoder in encoders)

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Return the encoders that look side by side."""
        return self._encoders

    def prepare(self, image: Image) -> NDArray[Any]:
        """Return the inputs of all encoders for one image, an array of arrays, object (encoders,)."""
        prepared = np.empty(len(self.encoders), object)
        for number, encoder in enumerate(self.encoders):
            prepared[number] = encoder.prepare(image)
        return prepared

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length, for n prepared images, object (n, encoders)."""
        parts = [
            encoder.encode_prepared(np.stack(list(batch[:, number]))) * np.float32(eye.scale)
            for number, (encoder, eye) in enumerate(zip(self.encoders, self.eyes, strict=True))
        ]
        return np.concatenate(parts, axis=1)

    def see(self, image: Image) -> Sight:
        """Return the joint vector of one image, and where each encoder saw what, of those that tell."""
        sights = [encoder.see(image) for encoder in self.encoders]
        parts = [sight.vectors * np.float32(eye.scale) for sight, eye in zip(sights, self.eyes, strict=True)]
        return Sight(np.concatenate(parts, axis=1), tuple(found for sight in sights for found in sight.maps))
