"""Encoders of transformers' CLIP classes: tiny models, held against the plain use of transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.open_encoder import open_encoder
from tests.support.lazy_module import lazy_module

torch = lazy_module("torch")
transformers = lazy_module("transformers")

CONTEXT = 20
TEXTS = ["rust", "a leaf with rust", " ".join(["leaf"] * 50)]


def tokenizer() -> Any:
    letters = [chr(code) for code in range(97, 123)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={piece: n for n, piece in enumerate(vocabulary)}, merges=[])


def saved(folder: Path, kind: str) -> Path:
    """A checkpoint as transformers writes it."""
    torch.manual_seed(1)
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        "vocab_size": 54,
        "bos_token_id": 52,
        "eos_token_id": 53,
        "pad_token_id": 53,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    size = {"height": 32, "width": 32}
    pictures = transformers.CLIPImageProcessor(size=size, crop_size=size)
    if kind == "clip":
        configuration = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        model, processor = transformers.CLIPModel(configuration), transformers.CLIPProcessor
    else:
        configuration = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model, processor = transformers.SiglipModel(configuration), transformers.SiglipProcessor
        pictures = transformers.SiglipImageProcessor(size=size)
    model.save_pretrained(folder)
    processor(pictures, tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param) / "model", request.param)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("own") / "model", "clip")


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(5)
    sizes = [(32, 32), (48, 30), (20, 70), (100, 100), (33, 31), (5, 9), (64, 64), (40, 40), (12, 12), (90, 30)]
    return [Image.from_pixels(rng.integers(0, 256, (*size, 3), dtype=np.uint8), f"{size}") for size in sizes]


def plain(folder: Path, images: list[Image] | None = None, texts: list[str] | None = None) -> np.ndarray:
    """What the documentation's own calls make of images or texts, one at a time."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    calls = []
    with torch.no_grad():
        for image in images or []:
            inputs = processor(images=PIL.Image.fromarray(image.pixels), return_tensors="pt")
            calls.append(model.get_image_features(**inputs).pooler_output[0])
        for text in texts or []:
            length = {"padding": "max_length", "max_length": CONTEXT, "truncation": True}
            calls.append(
                model.get_text_features(**processor(text=[text], return_tensors="pt", **length)).pooler_output[0]
            )
    unit: np.ndarray = torch.nn.functional.normalize(torch.stack(calls), dim=1).numpy()
    return unit


def test_images_and_texts_equal_direct_calls(folder: Path, images: list[Image]) -> None:
    encoder = open_encoder(f"transformers:{folder}", device="cpu")
    np.testing.assert_allclose(encoder.encode(images), plain(folder, images=images), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), plain(folder, texts=TEXTS), atol=1e-5)
    assert encoder.has_text
    assert encoder.encode_texts([]).shape == (0, encoder.dimension)
    assert encoder.weight_bytes == (folder / "model.safetensors").stat().st_size


def test_a_text_is_read_to_the_length_that_the_checkpoint_states(clip: Path) -> None:
    """As Long-CLIP's 248 tokens: not the 77 that are usual."""
    encoder = open_encoder(f"transformers:{clip}", device="cpu")
    words = [
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "j",
        "k",
        "l",
        "m",
        "n",
        "o",
        "p",
        "q",
        "r",
    ]  # each a token, and two marks: all of the context
    short, full, longer = encoder.encode_texts([" ".join(words[:-1]), " ".join(words), " ".join([*words, "s"])])
    assert np.abs(short - full).max() > 1e-4
    np.testing.assert_allclose(longer, full, atol=1e-6)


def test_fingerprint_follows_weights_and_preprocessing_and_not_the_path(clip: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return open_encoder(f"transformers:{folder}", device="cpu").fingerprint

    moved = Path(shutil.copytree(clip, tmp_path / "moved"))
    assert fingerprint(moved) == fingerprint(clip)
    file = next(
        candidate
        for candidate in (moved / "processor_config.json", moved / "preprocessor_config.json")
        if candidate.exists()
    )
    file.write_text(file.read_text().replace("0.48145466", "0.5"))
    assert fingerprint(moved) != fingerprint(clip)


def test_weights_that_are_missing_are_not_made_up(clip: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    poor = Path(shutil.copytree(clip, tmp_path / "poor"))
    weights = safetensors.load_file(poor / "model.safetensors")
    weights.pop("visual_projection.weight")
    safetensors.save_file(weights, poor / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="1 of its weights are missing"):
        open_encoder(f"transformers:{poor}", device="cpu")


def test_pickled_weights_are_not_read(clip: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(clip, tmp_path / "pickled"))
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="cannot be used as a model of the CLIP classes"):
        open_encoder(f"transformers:{pickled}", device="cpu")


def test_a_model_without_towers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EncoderError, match="cannot be used as a model of the CLIP classes"):
        open_encoder(f"transformers:{tmp_path}", device="cpu")


def test_an_unreachable_hub_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match=r"download 'https://huggingface\.co/org/long-clip'; copy its folder"):
        open_encoder("transformers:org/long-clip")


@pytest.mark.parametrize(
    ("spec", "device", "problem"),
    [("transformers:", "cpu", "names no model"), ("transformers:x", "onnx", "does not run on ONNX Runtime")],
)
def test_what_cannot_be_is_refused(spec: str, device: str, problem: str) -> None:
    with pytest.raises(EncoderError, match=problem):
        open_encoder(spec, device=device)
