"""Opening an encoder by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from consilience.core.errors import EncoderError
from consilience.retrieval.encoders.efficientnet_lite import SIZES, EfficientNetLite
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.side_by_side import BESIDE, SideBySide

ENCODERS = (
    "'efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2', 'texture', 'open_clip:<model>:<pretrained "
    "tag or checkpoint file>', 'open_clip:hf-hub:<repository>', 'open_clip:local-dir:<folder>', 'transformers:<folder "
    "or repository>', 'precomputed:<dimension>[:<what made the vectors>]'"
)


@dataclass(frozen=True)
class Weights:
    """A file with an encoder's weights, and what it must hash to, as hexadecimal digits; None: not checked."""

    file: Path
    sha256: str | None = None


def open_encoder(
    spec: str | Sequence[str], *, weights: Mapping[str, Weights] = MappingProxyType({}), device: str = "auto"
) -> Encoder:
    """Return the encoder that `spec` names; several, in a list or with ' + ' between them, are opened side by side.

    Args:
        spec: one of ENCODERS, or several.
        weights: by the encoder's name, a file to read its weights from: for EfficientNet-Lite an .onnx file (default:
            the one in the cache folder, exported on first use), for open_clip a checkpoint (default: that in `spec`).
        device: 'auto' (CUDA, else MPS, else CPU), 'cpu', 'cuda', 'mps', or 'onnx' (the image tower on the
            CPU with ONNX Runtime, for open_clip alone). EfficientNet-Lite always runs on ONNX Runtime.

    Raises:
        EncoderError: the encoder is unknown, or its weights cannot be had, are damaged or do not fit.
        MissingExtraError: it needs a package that is not installed.
    """
    specs = [name for part in ([spec] if isinstance(spec, str) else spec) for name in part.split(BESIDE)]
    if len(specs) > 1:
        return SideBySide([_open(each, weights, device) for each in specs])
    return _open(specs[0], weights, device)


def _open(spec: str, weights: Mapping[str, Weights], device: str) -> Encoder:
    kind, _, rest = spec.partition(":")
    own = weights.get(spec)
    file, sha256 = (own.file, own.sha256) if own else (None, None)
    if spec in SIZES:
        return EfficientNetLite(spec, file, sha256)
    if spec == "texture":
        from consilience.retrieval.encoders.texture import Texture

        return Texture()
    if kind == "open_clip":
        from consilience.retrieval.encoders.open_clip_encoder import ClipEncoder

        return ClipEncoder(spec, file, sha256, device)
    if kind == "transformers":
        from consilience.retrieval.encoders.transformers_clip import TransformersClipEncoder

        if file is not None:
            raise EncoderError(f"'{spec}' names a folder with its weights; leave out '{file}'.")
        return TransformersClipEncoder(spec, device)
    if kind == "precomputed":
        from consilience.retrieval.encoders.precomputed import PrecomputedEncoder

        return PrecomputedEncoder.from_spec(spec, rest)
    if kind == "none":
        from consilience.retrieval.encoders.no_encoder import NoEncoder

        return NoEncoder()
    raise EncoderError(f"There is no encoder '{spec}'. There are: {ENCODERS}.")
