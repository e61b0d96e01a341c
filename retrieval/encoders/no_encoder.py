"""The stand-in for an encoder in a panel that knows answers and no images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from numpy.typing import NDArray

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, hash_of

NO_ENCODER = "none"

REFUSAL = (
    "This panel was fitted on agents' answers and cannot look at images: give it a table of their answers, or fit a "
    "panel on a folder of images."
)


class NoEncoder(Encoder):
    """Encodes nothing: its vectors have no numbers."""

    def __init__(self) -> None:
        self.name = NO_ENCODER
        self.dimension = 0
        self.fingerprint = hash_of(self.name)
        self.has_text = False
        self.chunk = 1

    def prepare(self, image: Image) -> NoReturn:
        """Raise EncoderError: images cannot be looked at here."""
        raise EncoderError(REFUSAL)

    def encode_prepared(self, batch: NDArray[Any]) -> NoReturn:
        """Raise EncoderError: images cannot be looked at here."""
        raise EncoderError(REFUSAL)

    def encode(self, images: Sequence[Image]) -> NoReturn:
        """Raise EncoderError: images cannot be looked at here."""
        raise EncoderError(REFUSAL)
