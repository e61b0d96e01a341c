"""The eyes of a panel: which numbers of a vector come from which of several encoders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Eye:
    """One encoder of several, and its part of their joint vectors.

    Attributes:
        name: short, unique in a panel, fit for the name of a file, such as 'lite2'.
        start, stop: the places of its numbers.
        scale: what they are multiplied with there: the square root of its share of the joint similarity.
    """

    name: str
    start: int
    stop: int
    scale: float

    def of(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the eye's own vectors, float32 (n, d_eye) of unit length, of joint ones (n, d)."""
        return np.asarray(vectors[:, self.start : self.stop] / np.float32(self.scale), np.float32)


def eyes_of(encoders: Mapping[str, int]) -> tuple[Eye, ...]:
    """Return the eyes that these encoders are, each with the same share of the similarity; none for a single one.

    Args:
        encoders: the length of each one's vectors, by its name.

    >>> [(eye.name, eye.start, eye.stop) for eye in eyes_of({"efficientnet-lite0": 3, "open_clip:ViT-B-32:openai": 2})]
    [('lite0', 0, 3), ('ViT-B-32', 3, 5)]
    """
    if len(encoders) < 2:
        return ()
    names, start, eyes = list[str](), 0, list[Eye]()
    for encoder, dimension in encoders.items():
        short = short_name(encoder)
        names.append(short if short not in names else f"{short}-{len(names) + 1}")
        eyes.append(Eye(names[-1], start, start + dimension, len(encoders) ** -0.5))
        start += dimension
    return tuple(eyes)


def short_name(encoder: str) -> str:
    """Return what an eye is called after its encoder: the model, without where it comes from.

    >>> short_name("efficientnet-lite2"), short_name("open_clip:hf-hub:imageomics/bioclip")
    ('lite2', 'bioclip')
    """
    kind, *rest = encoder.removeprefix("efficientnet-").split(":")
    model = rest[-1] if rest and rest[0] in ("hf-hub", "local-dir") else rest[0] if rest else kind
    return re.sub(r"[^\w.-]+", "-", model.rstrip("/").rpartition("/")[2]) or kind
