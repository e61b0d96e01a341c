"""What an encoder is, and how one is opened by its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import EncoderError
from consilience.core.images import Image

Vectors = NDArray[np.float32]

ENCODERS = (
    "'embedded', 'open_clip:<model>:<pretrained tag or checkpoint file>', 'open_clip:hf-hub:<repository>', "
    "'open_clip:local-dir:<folder>', 'transformers:<folder or repository>', "
    "'precomputed:<dimension>[:<what made the vectors>]'"
)


class Encoder(Protocol):
    """Turns images, and texts where it has a text tower, into unit vectors of one space.

    Attributes:
        name: the specification that opens it again, such as 'embedded'.
        dimension: length of a vector.
        fingerprint: short hash of the model, its weights and the preprocessing, equal on every machine;
            vectors are comparable only under equal fingerprints.
        has_text: whether `encode_texts` works.
        chunk: how many images go through the model at once.
        weight_bytes: size of the files that hold its weights; 0 where there are none.

    All methods may be called from many threads.
    """

    name: str
    dimension: int
    fingerprint: str
    has_text: bool
    chunk: int
    weight_bytes: int = 0

    def prepare(self, image: Image) -> NDArray[Any]:
        """The model's input for one image: always of the same shape."""
        ...

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Vectors (n, d) of unit length for n prepared images."""
        ...

    def encode(self, images: Sequence[Image]) -> Vectors:
        """Vectors (n, d) of unit length, in the order of `images`, made in this thread.

        For many images use `consilience.retrieval.encoders.batch_embedding.embed_many`, which works on all cores.
        """
        vectors = np.empty((len(images), self.dimension), dtype=np.float32)
        for start in range(0, len(images), self.chunk):
            prepared = [self.prepare(image) for image in images[start : start + self.chunk]]
            vectors[start : start + len(prepared)] = self.encode_prepared(np.stack(prepared))
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors (n, d) of unit length, in the space of the images.

        Raises:
            EncoderError: if there is no text tower.
        """
        raise EncoderError(
            f"The encoder '{self.name}' has no text tower. "
            "Use an open_clip or transformers encoder, or leave out what compares images with texts."
        )


def open_encoder(spec: str, *, weights: Path | None = None, sha256: str | None = None, device: str = "auto") -> Encoder:
    """Open the encoder that `spec` names.

    Args:
        spec: one of ENCODERS.
        weights: a file to read the weights from: for 'embedded' its .onnx file (default: the one in the
            cache folder, exported on first use), for open_clip a checkpoint (default: the one in `spec`).
        sha256: what `weights` must hash to, as hexadecimal digits; None = not checked.
        device: 'auto' (CUDA, else MPS, else CPU), 'cpu', 'cuda', 'mps', or 'onnx' (the image tower on the
            CPU with ONNX Runtime, for open_clip alone). 'embedded' always runs on ONNX Runtime.

    Raises:
        EncoderError: the encoder is unknown, or its weights cannot be had, are damaged or do not fit.
        MissingExtraError: it needs a package that is not installed.
    """
    kind, _, rest = spec.partition(":")
    if spec == "embedded":
        from consilience.retrieval.encoders.embedded_encoder import EmbeddedEncoder

        return EmbeddedEncoder(weights, sha256)
    if kind == "open_clip":
        from consilience.retrieval.encoders.open_clip_encoder import ClipEncoder

        return ClipEncoder(spec, weights, sha256, device)
    if kind == "transformers":
        from consilience.retrieval.encoders.transformers_clip import TransformersClipEncoder

        if weights is not None:
            raise EncoderError(f"'{spec}' names a folder with its weights; leave out '{weights}'.")
        return TransformersClipEncoder(spec, device)
    if kind == "precomputed":
        from consilience.retrieval.encoders.precomputed import PrecomputedEncoder

        return PrecomputedEncoder.from_spec(spec, rest)
    raise EncoderError(f"There is no encoder '{spec}'. There are: {ENCODERS}.")


def hash_of(*parts: str) -> str:
    """A fingerprint: 16 hexadecimal digits over `parts`."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
