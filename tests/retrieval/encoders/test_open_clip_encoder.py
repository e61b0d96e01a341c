"""open_clip encoders: a tiny model with random weights, through the loading code that real ones take."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.open_encoder import Weights, open_encoder
from tests.support.forked import works_in_a_child
from tests.support.lazy_module import lazy_module

torch = lazy_module("torch")
open_clip = lazy_module("open_clip")

MODEL = "consilience-test-tiny"
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
TEXTS = ["a leaf with rust", "a healthy leaf", "лист", " ".join(["very"] * 200)]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(3)
    path = folder / "tiny.pt"
    torch.save(open_clip.create_model(MODEL).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def encoder(checkpoint: Path) -> Any:
    return open_encoder(f"open_clip:{MODEL}:{checkpoint}", device="cpu")


@pytest.fixture(scope="session")
def images() -> list[Image]:
    rng = np.random.default_rng(5)
    sizes = [(32, 32), (48, 30), (20, 70), (100, 100), (33, 31), (5, 9), (64, 64), (40, 40), (12, 12), (90, 30)]
    return [Image.from_pixels(rng.integers(0, 256, (*size, 3), dtype=np.uint8), f"{size}") for size in sizes]


def direct(checkpoint: Path, images: list[Image]) -> np.ndarray[Any, Any]:
    """What open_clip's own calls make of the images."""
    import PIL.Image

    model, _, transform = open_clip.create_model_and_transforms(MODEL, str(checkpoint))
    model.eval()
    with torch.inference_mode():
        batch = torch.stack([transform(PIL.Image.fromarray(image.pixels)) for image in images])
        return np.asarray(model.encode_image(batch, normalize=True))


def test_images_equal_direct_calls(encoder: Any, checkpoint: Path, images: list[Image]) -> None:
    vectors = encoder.encode(images)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(images), encoder.dimension) == (len(images), 32)
    np.testing.assert_allclose(vectors, direct(checkpoint, images), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_texts_equal_direct_calls(encoder: Any, checkpoint: Path) -> None:
    model = open_clip.create_model(MODEL, str(checkpoint)).eval()
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer(MODEL)(TEXTS), normalize=True).numpy()
    assert encoder.has_text
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, 32)


def test_texts_that_are_not_read_to_their_end_are_told(encoder: Any) -> None:
    words = [" ".join(["leaf"] * count) for count in (1, 75, 76, 200)]  # 77 tokens, of which two mark beginning and end
    assert encoder.are_cut(words) == [False, False, True, True]
    short, long = encoder.encode_texts(words[1:3])
    np.testing.assert_allclose(short, long, atol=1e-6)


def test_one_by_one_equals_all_at_once(encoder: Any, images: list[Image]) -> None:
    alone = np.concatenate([encoder.encode([image]) for image in images])
    np.testing.assert_allclose(alone, encoder.encode(images), atol=1e-5)


def test_the_image_tower_on_onnx_runtime_equals_torch(
    checkpoint: Path, encoder: Any, images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIENCE_CACHE", str(tmp_path))
    runtime = open_encoder(encoder.name, device="onnx")
    np.testing.assert_allclose(runtime.encode(images), encoder.encode(images), atol=1e-5)
    np.testing.assert_allclose(runtime.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-6)
    assert runtime.fingerprint == encoder.fingerprint
    assert [path.name for path in tmp_path.glob("*.onnx")] == [f"open-clip-{encoder.fingerprint}.onnx"]


def test_half_precision_on_the_gpu_is_close(encoder: Any, images: list[Image]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    half = open_encoder(encoder.name, device="cuda")
    np.testing.assert_allclose(half.encode(images), encoder.encode(images), atol=1e-2)
    np.testing.assert_allclose(half.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-2)
    assert half.fingerprint == encoder.fingerprint


def test_fingerprint_follows_the_weights_and_not_the_path(checkpoint: Path, encoder: Any, tmp_path: Path) -> None:
    moved = tmp_path / "with:colon.pt"
    shutil.copy(checkpoint, moved)
    assert open_encoder(f"open_clip:{MODEL}:{moved}", device="cpu").fingerprint == encoder.fingerprint
    gone = f"open_clip:{MODEL}:{tmp_path / 'gone.pt'}"
    assert open_encoder(gone, weights={gone: Weights(moved)}, device="cpu").fingerprint == encoder.fingerprint
    torch.manual_seed(4)
    torch.save(open_clip.create_model(MODEL).state_dict(), moved)
    assert open_encoder(f"open_clip:{MODEL}:{moved}", device="cpu").fingerprint != encoder.fingerprint


def test_safetensors_and_training_checkpoints_are_read(
    checkpoint: Path, encoder: Any, images: list[Image], tmp_path: Path
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    pytest.importorskip("safetensors.torch").save_file(state, tmp_path / "tiny.safetensors")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "run.pt"
    )
    for name in ("tiny.safetensors", "run.pt"):
        opened = open_encoder(f"open_clip:{MODEL}:{tmp_path / name}", device="cpu")
        np.testing.assert_allclose(opened.encode(images[:2]), encoder.encode(images[:2]), atol=1e-6)


def test_a_checkpoint_of_another_checksum_is_refused(encoder: Any, checkpoint: Path) -> None:
    with pytest.raises(EncoderError, match=r"tiny\.pt.*changed or damaged"):
        open_encoder(encoder.name, weights={encoder.name: Weights(checkpoint, "f" * 64)})


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_code_in_a_checkpoint_is_not_run(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "torch.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("torch.pt", "plain.pt"):
        expected = rf"{name}' cannot be loaded as weights of open_clip's '{MODEL}'"
        with pytest.raises(EncoderError, match=expected) as caught:
            open_encoder(f"open_clip:{MODEL}:{name}", device="cpu")
        assert "weights_only" not in str(caught.value)  # torch says how to run it all the same
    assert not Path("sprung").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut short"])
def test_a_file_that_holds_no_weights_is_refused(checkpoint: Path, tmp_path: Path, content: bytes) -> None:
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EncoderError, match=f"{name}' cannot be loaded"):
            open_encoder(f"open_clip:{MODEL}:{tmp_path / name}", device="cpu")


def test_weights_of_another_model_are_refused(checkpoint: Path) -> None:
    with pytest.raises(EncoderError, match=r"tiny\.pt' cannot be loaded as weights of open_clip's 'RN50-quickgelu'"):
        open_encoder(f"open_clip:RN50-quickgelu:{checkpoint}", device="cpu")


def test_an_unknown_model_gets_close_names() -> None:
    with pytest.raises(EncoderError, match=r"no model 'ViT-B32'.*ViT-B-32"):
        open_encoder("open_clip:ViT-B32:openai")


def test_missing_and_unknown_weights_name_the_tags(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"does not say which weights.*laion2b_s34b_b79k"):
        open_encoder("open_clip:ViT-B-32")
    with pytest.raises(EncoderError, match=r"neither a file nor a tag of 'ViT-B-32'.*laion2b_s34b_b79k"):
        open_encoder("open_clip:ViT-B-32:nowhere.pt")


def test_an_unreachable_hub_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    expected = "cannot be downloaded.*laion/CLIP-ViT-B-32-laion2B-s34B-b79K.*open_clip:ViT-B-32:<path of the file>"
    with pytest.raises(EncoderError, match=expected):
        open_encoder("open_clip:ViT-B-32:laion2b_s34b_b79k")


def test_an_absent_device_is_refused(encoder: Any) -> None:
    with pytest.raises(EncoderError, match=r"no device 'tpu'.*cpu"):
        open_encoder(encoder.name, device="tpu")


def test_a_file_gets_the_scaling_that_its_model_was_published_with(checkpoint: Path) -> None:
    """MobileCLIP-S1 wants [0, 1]; open_clip alone would scale the images of a file by OpenAI's mean."""
    from consilience.retrieval.encoders.open_clip_encoder import _published_options

    assert _published_options("MobileCLIP-S1", "some.pt", Path("some.pt"), open_clip) == {
        "force_quick_gelu": False,
        "image_mean": (0.0, 0.0, 0.0),
        "image_std": (1.0, 1.0, 1.0),
        "image_interpolation": "bilinear",
        "image_resize_mode": "shortest",
    }
    assert _published_options("ViT-B-32", "openai", Path("any.pt"), open_clip)["force_quick_gelu"]
    assert _published_options(MODEL, str(checkpoint), checkpoint, open_clip) == {"force_quick_gelu": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "file", "is_quick"),
    [
        ("RN50", "anything.pt", True),  # all published weights have it
        ("ViT-B-32", "ViT-B-32.pt", True),  # OpenAI's
        ("ViT-B-32", "vit_b_32-quickgelu-laion400m_e32-46683a32.pt", True),
        ("ViT-B-32", "vit_b_32-laion2b_e16-af8dbd0c.pth", False),
        ("ViT-B-32", "timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors", True),
        ("ViT-B-16", "models--apple--DFN2B-CLIP-ViT-B-16/snapshots/1/open_clip_pytorch_model.bin", True),
        ("ViT-B-32", "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K/blobs/1", False),
        ("ViT-B-32-quickgelu", "mine.pt", False),  # its own configuration has it: nothing to force
    ],
)
def test_a_file_keeps_the_activation_that_it_was_published_with(
    model: str, file: str, is_quick: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """QuickGELU was lost in every file: the same weights gave other vectors than under their tag."""
    from consilience.retrieval.encoders.open_clip_encoder import _published_options

    assert _published_options(model, file, Path(file), open_clip)["force_quick_gelu"] is is_quick
    assert caplog.text == ""


def test_where_a_file_does_not_tell_its_activation_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from consilience.retrieval.encoders.open_clip_encoder import _published_options

    assert not _published_options("ViT-B-32", "mine.pt", Path("mine.pt"), open_clip)["force_quick_gelu"]
    assert "'mine.pt' does not say whether it was trained with QuickGELU" in caplog.text
    assert "use open_clip:ViT-B-32-quickgelu:mine.pt" in caplog.text


def test_a_child_of_a_process_that_encoded_encodes_too(encoder: Any, images: list[Image]) -> None:
    """torch waited for ever for threads that a fork does not take along."""
    vectors = encoder.encode(images)

    def check() -> bool:
        return torch.get_num_threads() == 1 and np.allclose(encoder.encode(images), vectors, atol=1e-5)

    assert works_in_a_child(check)
