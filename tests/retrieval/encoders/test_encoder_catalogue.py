"""The list of encoders against open_clip itself, and models with a configuration of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.open_encoder import open_encoder
from tests.support.lazy_module import lazy_module

torch = lazy_module("torch")
open_clip = lazy_module("open_clip")

from consilience.retrieval.encoders.efficientnet_lite import SIZES  # noqa: E402
from consilience.retrieval.encoders.encoder_catalogue import LICENCES, UNKNOWN, KnownEncoder, find, known_encoders  # noqa: E402

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that is empty, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def own_model(folder: Path) -> Path:
    """A folder as open_clip pushes it to the hub."""
    folder.mkdir(parents=True)
    torch.manual_seed(2)
    model = open_clip.model.CLIP(**CONFIG)
    pytest.importorskip("safetensors.torch").save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    means = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": means}))
    return folder


def cached(hub: Path, repository: str) -> Path:
    folder = hub / f"models--{repository.replace('/', '--')}"
    own_model(folder / "snapshots" / "1234")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1234")
    return folder / "snapshots" / "1234"


def test_every_pretrained_tag_is_listed_once(hub: Path) -> None:
    names = [encoder.name for encoder in known_encoders()]
    assert len(names) == len(set(names))
    assert {f"open_clip:{model}:{tag}" for model, tag in open_clip.list_pretrained()} <= set(names)
    for family in ("metaclip", "CLIPA", "EVA", "SigLIP2", "MobileCLIP2", "bioclip", "BiomedCLIP", "LongCLIP"):
        assert any(family in name for name in names)


def test_what_is_listed_is_what_open_clip_builds(hub: Path) -> None:
    encoder = find("open_clip:RN50:openai", known_encoders())
    with torch.device("meta"):
        model = open_clip.model.CLIP(**open_clip.get_model_config("RN50"))
    assert encoder.parameters == sum(weights.numel() for weights in model.parameters())
    assert (encoder.pixels, encoder.dimension) == (model.visual.image_size, 1024)
    assert encoder.text_tower == "12 layers of 512, 77 tokens"


def test_a_licence_is_stated_where_its_page_was_read_alone(hub: Path) -> None:
    known = {encoder.name: encoder for encoder in known_encoders()}
    assert known["open_clip:ViT-B-32:metaclip_400m"].licence == "CC-BY-NC-4.0"
    assert known["open_clip:ViT-B-32:openai"].licence == UNKNOWN
    sources = [encoder.source.removeprefix("huggingface.co/") for encoder in known.values()]
    for start, _ in LICENCES:
        assert any(re.match(start, source) for source in sources), start  # no rule for what is not there


def test_weights_in_the_cache_are_here(hub: Path) -> None:
    def is_here() -> dict[str, bool]:
        return {encoder.name: encoder.is_here for encoder in known_encoders()}

    name = "open_clip:hf-hub:imageomics/bioclip"
    assert is_here() == {name: name in (*SIZES, "texture") for name in is_here()}
    cached(hub, "imageomics/bioclip")
    cached(hub, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    here = {name for name, is_it in is_here().items() if is_it}
    assert here == {*SIZES, "texture", name, "open_clip:ViT-B-32:laion2b_s34b_b79k"}


def test_a_name_that_is_not_there_gets_near_ones(hub: Path) -> None:
    with pytest.raises(EncoderError, match="no known encoder is called 'mobilecip2'; did you mean MobileCLIP2"):
        find("mobilecip2", known_encoders())


def direct(folder: Path, image: Image) -> Any:
    import PIL.Image

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        picture = transform(PIL.Image.fromarray(image.pixels))[None]
        return model.eval().encode_image(picture, normalize=True).numpy()


def test_a_model_with_its_own_configuration_is_opened_from_the_cache_and_from_a_folder(hub: Path) -> None:
    folder = cached(hub, "org/own")
    image = Image.from_pixels(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8), "noise")
    by_hub = open_encoder("open_clip:hf-hub:org/own", device="cpu")
    by_folder = open_encoder(f"open_clip:local-dir:{folder}", device="cpu")
    np.testing.assert_allclose(by_hub.encode([image]), direct(folder, image), atol=1e-5)
    np.testing.assert_allclose(by_hub.encode([image]), by_folder.encode([image]), atol=1e-6)
    assert by_hub.fingerprint == by_folder.fingerprint
    assert by_hub.encode_texts(["a leaf"]).shape == (1, 32)


def test_a_model_that_cannot_be_had_says_what_to_fetch(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"download 'https://huggingface\.co/org/gone'; copy its folder here"):
        open_encoder("open_clip:hf-hub:org/gone")
    with pytest.raises(EncoderError, match=r"is no folder with an open_clip_config\.json and one of"):
        open_encoder(f"open_clip:local-dir:{tmp_path}")


def test_facts_are_plain_data(hub: Path) -> None:
    encoder = find("efficientnet-lite0", known_encoders())
    assert KnownEncoder(**json.loads(json.dumps(encoder.to_dict()))) == encoder
