"""Opening an encoder by its name."""

from __future__ import annotations

from pathlib import Path

from consilience.core.errors import EncoderError
from consilience.retrieval.encoders.encoder import Encoder

ENCODERS = (
    "'embedded', 'open_clip:<model>:<pretrained tag or checkpoint file>', 'open_clip:hf-hub:<repository>', "
    "'open_clip:local-dir:<folder>', 'transformers:<folder or repository>', "
    "'precomputed:<dimension>[:<what made the vectors>]'"
)


def open_encoder(spec: str, *, weights: Path | None = None, sha256: str | None = None, device: str = "auto") -> Encoder:
    """Return the encoder that `spec` names.

    Args:
        spec: one of ENCODERS.
        weights: a file to read the weights from: for 'embedded' its .onnx file (default: the one in the
            cache folder, exported on first use), for open_clip a checkpoint (default: the one in `spec`).
        sha256: what `weights` must hash to, as hexadecimal digits; None: not checked.
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
    if kind == "none":
        from consilience.retrieval.encoders.no_encoder import NoEncoder

        return NoEncoder()
    raise EncoderError(f"There is no encoder '{spec}'. There are: {ENCODERS}.")
