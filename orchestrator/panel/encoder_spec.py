"""Which encoder wrote a panel's vectors; the weights of the embedded one travel with the panel."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from consilience.core.errors import EncoderError
from consilience.core.storage.panel_folder import PanelFolder
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.open_encoder import open_encoder

ENCODER_FILE = "encoder.onnx"


@dataclass(frozen=True)
class EncoderRecord:
    """What a panel notes of its encoder; `sha256` is of `file`, the panel's copy of the weights, if any."""

    name: str
    fingerprint: str
    dimension: int
    file: Path | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, encoder: Encoder) -> Self:
        """Return the record of an encoder, for a new panel."""
        if encoder.name != "embedded":
            return cls(encoder.name, encoder.fingerprint, encoder.dimension)
        file, sha256 = getattr(encoder, "onnx_path", None), getattr(encoder, "onnx_sha256", None)
        return cls(encoder.name, encoder.fingerprint, encoder.dimension, file, sha256)

    @classmethod
    def read(cls, folder: PanelFolder) -> Self:
        """Read what `write` left in a panel's folder."""
        file, noted = folder.state / ENCODER_FILE, folder.manifest["encoder"]
        if not file.exists():
            return cls(**noted)
        return cls(**noted, file=file, sha256=folder.manifest["files"][ENCODER_FILE]["sha256"])

    def write(self, folder: Path) -> dict[str, Any]:
        """Put the weights that travel into a panel's folder. Returns what its manifest says of the encoder."""
        if self.file is not None:
            _link_or_copy(self.file, folder / ENCODER_FILE)
        return {"name": self.name, "fingerprint": self.fingerprint, "dimension": self.dimension}

    def open(self, device: str = "auto") -> Encoder:
        """Open it, and check that it makes comparable vectors. Raises EncoderError if it does not."""
        encoder = open_encoder(self.name, weights=self.file, sha256=self.sha256, device=device)
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
