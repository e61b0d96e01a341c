"""Encoders of Hugging Face transformers that follow the CLIP classes: CLIP, Long-CLIP, SigLIP, MetaCLIP 2, ...

Long-CLIP (Zhang et al. 2024) reads texts of 248 tokens where CLIP reads 77; here each text is cut at what the
checkpoint says that it reads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from consilience.core.errors import EncoderError, first_line, import_extra
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Vectors, hash_of
from consilience.retrieval.encoders.onnx_file import sha256_of
from consilience.retrieval.encoders.open_clip_encoder import TEXTS_AT_ONCE, torch_device, unit

FILES = ("*.json", "*.txt", "*.model", "model*.safetensors")
"""What is downloaded of a repository: weights as safetensors alone, and no code."""


class TransformersClipEncoder(Encoder):
    """A transformers model with `get_image_features` and `get_text_features`, on CUDA, MPS or the CPU.

    The fingerprint is over the checksums of the weights and the preprocessing, so that it is the same on every device
    and wherever the folder lies.
    """

    has_text = True

    def __init__(self, spec: str, device: str = "auto") -> None:
        """Open 'transformers:<folder or repository of the hub>'; `device` as of `open_encoder`.

        Raises:
            EncoderError: it cannot be had, is no such model, lacks weights, or there is no such device.
            MissingExtraError: the extra 'clip' is not installed.
        """
        torch, transformers = import_extra("torch", "clip"), import_extra("transformers", "clip")
        name = spec.partition(":")[2]
        if not name:
            raise EncoderError(f"'{spec}' names no model: use transformers:<folder or repository of the hub>.")
        if device == "onnx":
            raise EncoderError(f"'{spec}' does not run on ONNX Runtime: use cpu, cuda, mps or auto.")
        self.device = torch_device(device, torch)
        folder = _folder(name)
        self._processor, self._model = _load(folder, torch, transformers, self.device)
        self._torch = torch
        self._lock = threading.Lock()
        self.name = spec
        self.chunk = 8 if self.device == "cpu" else 16
        weights = sorted(folder.glob("model*.safetensors"))
        self.weight_bytes = sum(file.stat().st_size for file in weights)
        self.dimension = self.encode_prepared(self._prepared(Pillow.new("RGB", (64, 64)))[None]).shape[1]
        preprocessing = self._processor.image_processor.to_json_string()
        self.fingerprint = hash_of("transformers", *map(sha256_of, weights), preprocessing)

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Return the image as the processor's own transform makes it: float32 (3, height, width)."""
        return self._prepared(Pillow.fromarray(image.pixels))

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length, for a batch, float32 (n, 3, height, width)."""
        with self._lock, self._torch.inference_mode():
            pixels = self._torch.from_numpy(batch).to(self.device, self._model.dtype)
            return unit(_projected(self._model.get_image_features(pixel_values=pixels)))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length; a text is cut off where the model's context ends."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        longest = self._model.config.text_config.max_position_embeddings
        with self._lock, self._torch.inference_mode():
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                some = list(texts[start : start + TEXTS_AT_ONCE])
                tokens = self._processor.tokenizer(
                    some, padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
                ).to(self.device)
                vectors[start : start + len(some)] = unit(_projected(self._model.get_text_features(**tokens)))
        return vectors

    def _prepared(self, picture: Pillow.Image) -> NDArray[np.float32]:
        processed = self._processor.image_processor(images=picture, return_tensors="pt")
        if (shape := list(processed)) != ["pixel_values"]:
            raise EncoderError(f"'{self.name}' takes images as {', '.join(shape)}; only models of one size are read.")
        prepared: NDArray[np.float32] = processed["pixel_values"][0].numpy()
        return prepared


def _folder(name: str) -> Path:
    """Return the folder `name`, or that of the repository's files, downloaded if they are not in the hub's cache."""
    if Path(name).is_dir():
        return Path(name)
    hub = import_extra("huggingface_hub", "clip")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as cause:  # whatever the hub's client or the network raises
        raise EncoderError(
            f"'{name}' is no folder, and cannot be downloaded: {first_line(cause)}. Where there is a network, download "
            f"'https://huggingface.co/{name}'; copy its folder here and use transformers:<the folder>."
        ) from cause


def _load(folder: Path, torch: Any, transformers: Any, device: str) -> tuple[Any, Any]:
    """Return the processor and the model; weights come from safetensors alone, and no code of the checkpoint runs."""
    safe = {"local_files_only": True, "trust_remote_code": False}
    dtype = torch.float32 if device == "cpu" else torch.float16
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, **safe)
        model, loaded = transformers.AutoModel.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=dtype, **safe
        )
        if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
            raise ValueError("it has no processor of images and texts")
        if not hasattr(model, "get_image_features") or not hasattr(model.config, "text_config"):
            raise ValueError(f"'{model.config.model_type}' has no towers of images and texts")
        if loaded["missing_keys"]:  # transformers would make them up
            raise ValueError(f"{len(loaded['missing_keys'])} of its weights are missing")
    except Exception as cause:  # a folder from anywhere meets a foreign loader
        raise EncoderError(
            f"'{folder}' cannot be used as a model of the CLIP classes: {first_line(cause)}. It must hold the "
            "configuration, processor and model.safetensors of one, as transformers saves them."
        ) from cause
    return processor, model.to(device).eval()


def _projected(output: Any) -> Any:
    """Return the vectors (n, d): transformers 4 returns them bare, 5 as `pooler_output`."""
    return getattr(output, "pooler_output", output)
