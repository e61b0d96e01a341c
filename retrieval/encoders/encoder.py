"""The protocol of encoders, which turn images and texts into vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.eye import Eye

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sight:
    """What an encoder sees in one image, and where.

    Attributes:
        vectors: float32 (1, d), of unit length.
        maps: of each of its `encoders` a map, float32 (d_encoder, height, width), none below 0: number k of its vector
            follows from channel k alone, so that a place's share of the number is its share of the channel's sum. None
            of an encoder that does not tell where it sees something.
    """

    vectors: Vectors
    maps: tuple[NDArray[np.float32] | None, ...]


class Encoder(Protocol):
    """An encoder turns images, and texts where it has a text tower, into unit vectors of one space.

    Attributes:
        name: the specification that opens it again, such as 'efficientnet-lite0'.
        dimension: length of a vector.
        fingerprint: short hash of the model, its weights and the preprocessing, equal on every machine;
            vectors are comparable only under equal fingerprints.
        has_text: whether `encode_texts` works.
        chunk: how many images go through the model at once.
        weight_bytes: size of the files that hold its weights; 0 where there are none.
        eyes: the parts of a vector that come from different encoders; none where it is one.

    All methods may be called from many threads.
    """

    name: str
    dimension: int
    fingerprint: str
    has_text: bool
    chunk: int
    weight_bytes: int = 0
    eyes: tuple[Eye, ...] = ()

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Return the encoders that look side by side; itself where it is one."""
        return (self,)

    def prepare(self, image: Image) -> NDArray[Any]:
        """Return the model's input for one image, always of the same shape; implementers must define it."""
        ...

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length, for n prepared images; implementers must define it."""
        ...

    def encode(self, images: Sequence[Image]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length, in the order of `images`, made in this thread.

        For many images use `consilience.retrieval.encoders.batch_embedding.embed_many`, which works on all cores.
        """
        vectors = np.empty((len(images), self.dimension), dtype=np.float32)
        for start in range(0, len(images), self.chunk):
            prepared = [self.prepare(image) for image in images[start : start + self.chunk]]
            vectors[start : start + len(prepared)] = self.encode_prepared(np.stack(prepared))
        return vectors

    def see(self, image: Image) -> Sight:
        """Return the vector of one image, the same as `encode` makes, and where the encoder saw what, if it tells."""
        return Sight(self.encode([image]), (None,))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length, in the space of the images.

        Implementers that have a text tower define it.

        Raises:
            EncoderError: there is no text tower.
        """
        raise EncoderError(
            f"The encoder '{self.name}' has no text tower. "
            "Use an open_clip or transformers encoder, or leave out what compares images with texts."
        )


def hash_of(*parts: str) -> str:
    """Return a fingerprint of `parts`: the first 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
