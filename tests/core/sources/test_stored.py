"""Images in stores: read through fsspec, under the limits of any image, and only by protocols that are meant."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from consilience import evaluate, fit, load_image, load_settings
from consilience.core.errors import ConsilienceError, DatasetError, ImageError, MissingExtraError
from consilience.core.image_limits import ImageLimits
from consilience.core.sources.stored import check_address, openable, shown_address
from consilience.evals.source import open_source

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (the extra 'stores')")


def png(colour: tuple[int, int, int], side: int = 32) -> bytes:
    noise = np.random.default_rng(sum(colour)).integers(0, 60, (side, side, 3))
    file = io.BytesIO()
    PIL.Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def store() -> Iterator[str]:
    """An empty folder of fsspec's store in memory."""
    fsspec.filesystem("memory").makedirs("/leaves", exist_ok=True)
    yield "memory://leaves"
    fsspec.filesystem("memory").rm("/leaves", recursive=True)


def put(name: str, data: bytes) -> str:
    with fsspec.open(name, "wb") as file:
        file.write(data)
    return name


def test_an_image_is_read_from_a_store_and_from_a_file_address(store: str, tmp_path: Path) -> None:
    data = png((10, 120, 30))
    (tmp_path / "a b.png").write_bytes(data)
    pixels = load_image(data).pixels
    for name in (put(f"{store}/a.png", data), f"file://{tmp_path}/a b.png"):
        image = load_image(openable(name))
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.source == name


def test_the_limits_of_images_hold_in_a_store(store: str) -> None:
    name = put(f"{store}/a.png", png((10, 120, 30)))
    bytes_, sides = ImageLimits(max_bytes=100), ImageLimits(max_side=16)
    for limits, problem in ((bytes_, "more than the 100 bytes"), (sides, "32 x 32")):
        with pytest.raises(ImageError, match=f"{name}.*{problem}"):
            load_image(openable(name), limits)


def test_what_is_no_image_file_says_so(store: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name, problem in {
        f"{store}/gone.png": "there is no",
        store: "is no file",
        f"file://{tmp_path}/pipe": "is no file",
        f"file://{tmp_path}/link": "is no file",
        put(f"{store}/note.txt", b"a note"): "is not an image",
        put(f"{store}/empty.png", b""): "is empty",
    }.items():
        with pytest.raises(ImageError, match=problem):
            load_image(openable(name))


def test_no_address_leads_to_another_protocol(tmp_path: Path) -> None:
    for name in ("file://x::http://127.0.0.1/a.png", "memory://x::file:///etc/hostname"):
        with pytest.raises(ImageError, match="there is no"):
            load_image(openable(name))


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        ("ftp://host/a.png", DatasetError, r"row 2: no image is read from ftp://; use http, https, .*s3"),
        ("github://owner:repo@main/a.png", DatasetError, "no image is read from github://"),
        ("s3://KEY:SECRET@bucket/a.png", DatasetError, "row 2: .*set it in the environment"),
    ],
)
def test_a_manifest_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, error: type[ConsilienceError], problem: str
) -> None:
    (tmp_path / "images.csv").write_text(f"path,label\na.png,scab\n{name},scab\n")
    with pytest.raises(error, match=problem) as seen:
        open_source(tmp_path / "images.csv")
    assert "SECRET" not in str(seen.value)


def test_a_store_without_its_package_names_it() -> None:
    missing = {"s3://b/a.png": "s3fs", "gs://b/a.png": "gcsfs", "abfs://c@a/b.png": "adlfs"}
    absent = [extra for extra in missing.items() if not _is_installed(extra[1])]
    if not absent:
        pytest.skip("the packages of all stores are installed")
    for name, package in absent:
        with pytest.raises(MissingExtraError, match=package):
            check_address(name)


def _is_installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def test_addresses_are_shown_without_secrets() -> None:
    assert shown_address("http://host/a.png?token=SECRET") == "http://host/a.png"
    assert shown_address("s3://bucket/a.png?versionId=1") == "s3://bucket/a.png"
    assert shown_address("http://me:SECRET@host/a.png") == "http://(no usable address)"


@pytest.mark.slow
def test_an_evaluation_reads_a_manifest_of_a_store(store: str, tmp_path: Path) -> None:
    colours = {"green": (10, 160, 30), "brown": (120, 70, 20)}
    for label, colour in colours.items():
        (tmp_path / "known" / label).mkdir(parents=True)
        for number in range(8):
            (tmp_path / "known" / label / f"{number}.png").write_bytes(png(np.add(colour, number).tolist()))
    settings = load_settings(agents="neighbours,gaussian")
    fit(tmp_path / "known", tmp_path / "panel", settings=settings)
    rows = [(put(f"{store}/{label}.png", png(np.add(colour, 9).tolist())), label) for label, colour in colours.items()]
    rows += [(f"{store}/gone.png", "green"), ("http://127.0.0.1/a.png", "green"), ("http://a:b@host/a.png", "brown")]
    text = "".join(f"{name},{label}\n" for name, label in rows)
    (tmp_path / "images.csv").write_text("path,label\n" + text)
    done = evaluate(tmp_path / "images.csv", tmp_path / "panel", tmp_path / "out", settings=settings)
    assert (done.metrics.n, done.metrics.errors) == (2, 3)
    gone, private, secret = (error for _, error in done.failed())
    assert f"there is no '{store}/gone.png'" in gone
    assert "not public" in private
    assert "user name or password" in secret
