"""Encoders of open_clip: image and text towers trained to agree (CLIP, Radford et al. 2021)."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from consilience.core.errors import EncoderError, first_line, import_extra
from consilience.core.images import Image
from consilience.retrieval.encoders.encoder import Encoder, Vectors, hash_of
from consilience.retrieval.encoders.onnx_file import cached, check_sha256, export_onnx, open_session
from consilience.retrieval.encoders.prompt_tower import PromptTower, embedding_of

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "mps", "onnx")
TEXTS_AT_ONCE = 256
TRANSFORM = ("mean", "std", "interpolation", "resize_mode")
FOLDERS = ("hf-hub", "local-dir")
"""Where a model comes with its own configuration: a repository of the Hugging Face hub, or a folder like one."""
CONFIGURATION = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Of a folder, in the order in which open_clip prefers them."""


class ClipEncoder(Encoder):
    """An open_clip model on CUDA or MPS in half precision, or on the CPU.

    The fingerprint is over the model's name, the checkpoint file's checksum and the preprocessing, so that it
    is the same on every device and wherever the file lies.
    """

    def __init__(self, spec: str, weights: Path | None = None, sha256: str | None = None, device: str = "auto") -> None:
        """Open a model of open_clip; arguments as of `open_encoder`.

        Args:
            spec: 'open_clip:<model>:<pretrained tag or checkpoint file>', 'open_clip:hf-hub:<repository>' or
                'open_clip:local-dir:<folder>'.
            weights: a checkpoint file, instead of the one in `spec`.
            sha256: what the checkpoint must hash to, as hexadecimal digits; None: not checked.
            device: 'auto', 'cpu', 'cuda', 'mps' or 'onnx'.

        Raises:
            EncoderError: the model is unknown, its weights cannot be had or do not fit, or there is no such device.
            MissingExtraError: the extra 'clip' is not installed.
        """
        torch = import_extra("torch", "clip")
        open_clip = import_extra("open_clip", "clip")
        model_name, pretrained = _parse(spec, open_clip)
        if model_name in FOLDERS:
            model_name, checkpoint = _folder(model_name, pretrained, open_clip)
            if weights is not None:
                raise EncoderError(f"'{spec}' names a model with its weights; leave out '{weights}'.")
            options: dict[str, Any] = {"force_quick_gelu": False}
        else:
            checkpoint = weights if weights is not None else _checkpoint(model_name, pretrained, open_clip)
            options = _published_options(model_name, pretrained, checkpoint, open_clip)
        checksum = check_sha256(checkpoint, sha256)
        self.device = torch_device(device, torch)
        self._half = self.device != "cpu"
        self._model, self._transform, self._tokenize = _load(
            open_clip,
            model_name,
            checkpoint,
            precision="fp16" if self._half else "fp32",
            device=self.device,
            **options,
        )
        self._torch = torch
        self._lock = threading.Lock()
        self.name = spec
        self.dimension = int(open_clip.get_model_config(model_name)["embed_dim"])
        transform = open_clip.get_model_preprocess_cfg(self._model)
        preprocessing = {key: transform[key] for key in ("size", *TRANSFORM)}
        activation = str(options["force_quick_gelu"])
        named = "a folder's model" if spec.split(":")[1] in FOLDERS else model_name
        self.fingerprint = hash_of("open_clip", named, checksum, json.dumps(preprocessing), activation)
        self.weight_bytes = checkpoint.stat().st_size
        self.has_text = True
        self.chunk = 8 if self.device == "cpu" else 16
        self._session: Any = None
        if device == "onnx":
            self._session = self._image_tower_session()
            self.chunk = 4

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Return the image as the model's own evaluation transform makes it: float32 (3, height, width)."""
        prepared: NDArray[np.float32] = self._transform(Pillow.fromarray(image.pixels)).numpy()
        return prepared

    def encode_prepared(self, batch: NDArray[Any]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length, for a batch, float32 (n, 3, height, width)."""
        if self._session is not None:
            vectors: Vectors = self._session.run(None, {"input": batch})[0]
            return vectors
        torch = self._torch
        with self._lock, torch.inference_mode():
            images = torch.from_numpy(batch).to(self.device, torch.float16 if self._half else torch.float32)
            return unit(self._model.encode_image(images))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return vectors, float32 (n, d) of unit length; a text is cut off where the model's context ends."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        with self._lock, self._torch.inference_mode():
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                tokens = self._tokenize(list(texts[start : start + TEXTS_AT_ONCE])).to(self.device)
                vectors[start : start + len(tokens)] = unit(self._model.encode_text(tokens))
        return vectors

    def are_cut(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it is longer than the model's context, so that its end is not read."""
        limit = self._tokenize([""]).shape[1]
        blank, *rows = self._tokenize(["", *texts], context_length=limit + 1)
        return [bool(row[-1] != blank[-1]) for row in rows]

    def prompt_tower(self, names: Sequence[str]) -> PromptTower | None:
        """Return the text tower with learned vectors before each of `names`; None if its kind takes none."""
        if embedding_of(self._model) is None:
            return None
        return PromptTower(self._model, self._tokenize, names, self._lock)

    def _image_tower_session(self) -> Any:
        torch, model = self._torch, self._model

        class Tower(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch is known only at run time
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, images: Any) -> Any:
                return self.model.encode_image(images, normalize=True)

        def export() -> bytes:
            example = torch.zeros(2, 3, *np.broadcast_to(model.visual.image_size, 2).tolist())
            return export_onnx(Tower(), example, {"fingerprint": self.fingerprint})

        return open_session(cached(f"open-clip-{self.fingerprint}.onnx", export))


def _parse(spec: str, open_clip: Any) -> tuple[str, str]:
    """Return the model and the tag or file in 'open_clip:<model>:<tag or file>'; both must be given."""
    _, model_name, pretrained = (*spec.split(":", 2), "", "")[:3]
    known = open_clip.list_models()
    if model_name in FOLDERS and pretrained:
        return model_name, pretrained
    if model_name not in known:
        close = ", ".join(get_close_matches(model_name, known, n=5, cutoff=0.4)) or ", ".join(known[:5])
        raise EncoderError(
            f"open_clip has no model '{model_name}'. Close to it: {close}. All: open_clip.list_models()."
        )
    if not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model_name)) or "none"
        raise EncoderError(
            f"'{spec}' does not say which weights: use open_clip:{model_name}:<tag or checkpoint file>. Tags: {tags}."
        )
    return model_name, pretrained


def _checkpoint(model_name: str, pretrained: str, open_clip: Any) -> Path:
    """Return the file that holds the weights, downloaded if `pretrained` is a tag that is not there yet."""
    source = open_clip.get_pretrained_cfg(model_name, pretrained)
    if not source:
        if Path(pretrained).is_file():
            return Path(pretrained)
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model_name)) or "none"
        raise EncoderError(f"'{pretrained}' is neither a file nor a tag of '{model_name}'. Tags: {tags}.")
    try:
        return Path(open_clip.download_pretrained(source))
    except Exception as cause:  # whatever the hub's client or the network raises
        where = source.get("hf_hub") or source.get("url")
        raise EncoderError(
            f"The weights '{pretrained}' of '{model_name}' cannot be downloaded: {first_line(cause)}. Where there is "
            f"a network, download '{where}'; copy the file here and use open_clip:{model_name}:<path of the file>."
        ) from cause


def _folder(kind: str, name: str, open_clip: Any) -> tuple[str, Path]:
    """Return open_clip's name of the model in a folder or repository, downloaded if need be, and its weights file."""
    from open_clip.pretrained import download_pretrained_from_hf

    folder = Path(name)
    if kind == "hf-hub":
        try:
            checkpoint = Path(download_pretrained_from_hf(name))
            folder = Path(download_pretrained_from_hf(name, filename=CONFIGURATION)).parent
        except Exception as cause:  # whatever the hub's client or the network raises
            raise EncoderError(
                f"The model '{name}' cannot be downloaded: {first_line(cause)}. Where there is a network, download "
                f"'https://huggingface.co/{name}'; copy its folder here and use open_clip:local-dir:<the folder>."
            ) from cause
        return f"local-dir:{folder.absolute()}", checkpoint
    there = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    if not there or not (folder / CONFIGURATION).is_file():
        raise EncoderError(f"'{folder}' is no folder with an {CONFIGURATION} and one of {', '.join(WEIGHTS)}.")
    return f"local-dir:{folder.absolute()}", there[0]


def _published_options(model_name: str, pretrained: str, checkpoint: Path, open_clip: Any) -> dict[str, Any]:
    """Return what open_clip.create_model_and_transforms must be told of these weights beside their file.

    For a tag that is published with it, as for a file that is recognised as that of a tag. For another file it is the
    scaling of images and the activation that all published weights of the model agree on (open_clip alone would take
    OpenAI's scaling for every file, and QuickGELU for none); where they differ, or there are none, open_clip's
    default.
    """
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    tag = open_clip.get_pretrained_cfg(model_name, pretrained) or next(
        (source for source in _sources(model_name, tags, open_clip) if _is_of(checkpoint, source)), None
    )
    sources = [tag] if tag else _sources(model_name, tags, open_clip)
    activations = {bool(source.get("quick_gelu")) for source in sources}
    has_its_own = bool((open_clip.get_model_config(model_name) or {}).get("quick_gelu"))
    options: dict[str, Any] = {"force_quick_gelu": activations == {True} and (tag is not None or not has_its_own)}
    if len(activations) > 1 and not has_its_own:
        log.warning(
            "'%s' does not say whether it was trained with QuickGELU, as some published weights of %s were; it is "
            "taken without. If it was, use open_clip:%s-quickgelu:%s",
            checkpoint, model_name, model_name, checkpoint,
        )  # fmt: skip
    transforms = {tuple(source.get(key) for key in TRANSFORM) for source in sources}
    if len(transforms) == 1:
        options |= {f"image_{key}": value for key, value in zip(TRANSFORM, transforms.pop(), strict=True)}
    return options


def _sources(model_name: str, tags: Sequence[str], open_clip: Any) -> list[dict[str, Any]]:
    return [open_clip.get_pretrained_cfg(model_name, tag) for tag in tags]


def _is_of(checkpoint: Path, source: dict[str, Any]) -> bool:
    """Return whether a file is one that is published so: by its name, or by that of its repository in its path."""
    if (url := source.get("url")) and checkpoint.name == url.rsplit("/", 1)[-1]:
        return True
    repository = str(source.get("hf_hub") or "").strip("/")
    names = {repository.replace("/", "--"), f"models--{repository.replace('/', '--')}", repository.rsplit("/", 1)[-1]}
    return bool(repository) and not names.isdisjoint(checkpoint.absolute().parts)


def _load(open_clip: Any, model_name: str, checkpoint: Path, **options: Any) -> tuple[Any, Any, Any]:
    """Return the model, the transform of images and the tokenizer."""
    try:
        named = () if model_name.startswith("local-dir:") else (str(checkpoint.absolute()),)
        model, _, transform = open_clip.create_model_and_transforms(model_name, *named, weights_only=True, **options)
    except Exception as cause:  # a file from anywhere meets a foreign loader
        raise EncoderError(
            f"'{checkpoint}' cannot be loaded as weights of open_clip's '{model_name}': {first_line(cause)}. "
            "It must be the state dict of this very model, as .safetensors or from torch.save; code in it is not run."
        ) from cause
    try:
        tokenize = open_clip.get_tokenizer(model_name)
    except Exception as cause:  # some models take theirs from the hub
        raise EncoderError(f"The tokenizer of '{model_name}' cannot be had: {first_line(cause)}.") from cause
    return model.eval(), transform, tokenize


def torch_device(device: str, torch: Any) -> str:
    """Return torch's name of the device to use: 'cpu', 'cuda' or 'mps'.

    Args:
        device: one of DEVICES; 'auto' is CUDA, else MPS, else the CPU; 'onnx' is the CPU.
        torch: the module.

    Raises:
        EncoderError: this machine has no such device.
    """
    _compute_alone_after_forks(torch)
    there = {"cpu": True, "onnx": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there.get(device, False):
        devices = ", ".join(name for name in DEVICES if there.get(name, True))
        raise EncoderError(f"There is no device '{device}' here. There are: {devices}.")
    return "cpu" if device == "onnx" else device


@cache
def _compute_alone_after_forks(torch: Any) -> None:
    """Let torch compute in one thread in children of this process: they lack its other threads, and it would wait."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def unit(vectors: Any) -> Vectors:
    """Return a torch tensor (n, d) as a float32 array whose rows are scaled to unit length."""
    array: Vectors = vectors.float().cpu().numpy()
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    return array
