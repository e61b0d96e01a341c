"""Which encoders wrote a panel's vectors; the weights of EfficientNet-Lite travel with the panel."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from consilience.core.errors import EncoderError
from consilience.core.storage.panel_folder import PanelFolder
from consilience.retrieval.encoders.efficientnet_lite import EfficientNetLite
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.eye import Eye, eyes_of
from consilience.retrieval.encoders.open_encoder import Weights, open_encoder

ENCODERS_FOLDER = "encoders"


@dataclass(frozen=True)
class EncoderRecord:
    """What a panel notes of its encoder, or of several that look side by side.

    Attributes:
        name: by which it is opened again.
        fingerprint, dimension: of its vectors.
        parts: the length of each encoder's own vectors, by its name.
        weights: the panel's copies of weights, by the encoder's name.
    """

    name: str
    fingerprint: str
    dimension: int
    parts: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)

    @classmethod
    def of(cls, encoder: Encoder) -> Self:
        """Return the record of an encoder, for a new panel."""
        return cls(
            encoder.name,
            encoder.fingerprint,
            encoder.dimension,
            {each.name: each.dimension for each in encoder.encoders},
            {
                each.name: Weights(each.onnx_path, each.onnx_sha256)
                for each in encoder.encoders
                if isinstance(each, EfficientNetLite)
            },
        )

    @classmethod
    def read(cls, folder: PanelFolder) -> Self:
        """Read what `write` left in a panel's folder."""
        noted, files = folder.manifest["encoder"], folder.manifest["files"]
        held = {name: f"{ENCODERS_FOLDER}/{name}.onnx" for name in noted["parts"]}
        weights = {
            name: Weights(folder.state / file, files[file]["sha256"]) for name, file in held.items() if file in files
        }
        return cls(**noted, weights=weights)

    @property
    def eyes(self) -> tuple[Eye, ...]:
        """Return which numbers of a vector come from which encoder; none where there is one encoder."""
        return eyes_of(self.parts)

    def write(self, folder: Path) -> dict[str, Any]:
        """Put the weights that travel into a panel's folder. Returns what its manifest says of the encoder."""
        if self.weights:
            (folder / ENCODERS_FOLDER).mkdir()
        for name, weights in self.weights.items():
            _link_or_copy(weights.file, folder / ENCODERS_FOLDER / f"{name}.onnx")
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
            "parts": dict(self.parts),
        }

    def open(self, device: str = "auto") -> Encoder:
        """Open it, and check that it makes comparable vectors. Raises EncoderError if it does not."""
        encoder = open_encoder(self.name, weights=self.weights, device=device)
        self.check(encoder)
        return encoder

    def check(self, encoder: Encoder) -> None:
        """Raise EncoderError unless this encoder made the panel's vectors."""
        if encoder.fingerprint != self.fingerprint:
            raise EncoderError(
                f"the panel was written with the encoder '{self.name}' ({self.fingerprint}), and cannot take vectors "
                f"of '{encoder.name}' ({encoder.fingerprint}): open it with the same weights, or fit a new panel"
            )


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
