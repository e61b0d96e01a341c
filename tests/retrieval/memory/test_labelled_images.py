"""Records: the truth of an image memory, in memory and in a folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consilience.core.errors import ImageMemoryError, PanelDamagedError
from consilience.retrieval.memory.labelled_images import Conflict, LabelledImages

NAMES = ("叶/病斑.jpg", "лист\nвторой.jpg", "ورقة.jpg", os.fsdecode(b"caf\xe9\xff.jpg"))


def unit(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def labelled_images(n: int = 4) -> LabelledImages:
    ids = tuple(f"id{row}" for row in range(n))
    return LabelledImages(
        ids, ("健康", "scab", "scab", "rust")[:n], NAMES[:n], unit(n), ({"id0": b"one", "id2": b"three"},)
    )


def test_a_saved_memory_comes_back_whole(tmp_path: Path) -> None:
    saved = labelled_images()
    distances = saved.kth_distances(2)
    saved.save(tmp_path / "g1")
    opened = LabelledImages.open(tmp_path / "g1")
    assert (opened.ids, opened.labels, opened.sources) == (saved.ids, saved.labels, saved.sources)
    np.testing.assert_array_equal(opened.vectors, saved.vectors)
    np.testing.assert_array_equal(opened._distances[2], distances)
    assert [opened.thumbnail(identity) for identity in opened.ids] == [b"one", None, b"three", None]
    assert json.loads((tmp_path / "g1" / "images.jsonl").read_bytes().split(b"\n")[1])["source"] == NAMES[1]


def test_groups_are_numbered_in_the_order_of_their_names() -> None:
    assert replace(labelled_images(), groups=("t2", "a", "t10", "a")).group_numbers.tolist() == [2, 0, 1, 0]
    assert labelled_images().group_numbers.tolist() == [0, 1, 2, 3]


def test_the_same_memory_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        labelled_images().save(tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_thumbnails_outlive_the_folder_and_serve_many_threads(tmp_path: Path) -> None:
    pictures = {f"id{row}": bytes([row]) * 1000 for row in range(200)}
    ids = tuple(pictures)
    LabelledImages(ids, ("a",) * 200, ids, unit(200), (pictures,)).save(tmp_path / "g1")
    opened = LabelledImages.open(tmp_path / "g1")
    shutil.rmtree(tmp_path / "g1")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(opened.thumbnail, ids)) == list(pictures.values())


def test_vectors_cannot_be_changed_and_the_callers_can() -> None:
    vectors = unit(1)
    kept = LabelledImages(("a",), ("x",), ("s",), vectors)
    with pytest.raises(ValueError, match="read-only"):
        kept.vectors[0, 0] = 1.0
    vectors[0, 0] = vectors[0, 0]


@pytest.mark.parametrize(
    ("ids", "vectors", "says"),
    [
        (("a", "a"), unit(2), "'a' is given more than once"),
        (("a", ""), unit(2), "empty"),
        (("a", "b"), unit(3), "3 vectors for 2 images"),
        (("a", "b"), unit(2) * 2, "length 2"),
        (("a", "b"), np.full((2, 4), np.nan), "length nan"),
        (("a", "b"), np.zeros(2), r"not float32 \(n, d\)"),
    ],
)
def test_what_cannot_be_remembered_is_refused(ids: tuple[str, ...], vectors: np.ndarray, says: str) -> None:
    with pytest.raises(ImageMemoryError, match=says):
        LabelledImages(ids, ("x",) * len(ids), ("s",) * len(ids), vectors)


def test_adding_again_changes_nothing() -> None:
    start = LabelledImages((), (), (), np.empty((0, 8), np.float32))
    once, report = start.with_added(("a", "b", "a"), ("x", "y", "x"), ("1", "2", "1 copy"), unit(3), {"b": b"jpeg"})
    assert (report.added, report.skipped, report.conflicts) == (2, 1, ())
    twice, report = once.with_added(("a", "b"), ("x", "y"), ("1", "2"), unit(2))
    assert twice is once
    assert (report.added, report.skipped) == (0, 2)
    assert (once.ids, once.sources, once.thumbnail("b")) == (("a", "b"), ("1", "2"), b"jpeg")


def test_an_image_under_two_labels_is_kept_out_and_named() -> None:
    start = LabelledImages(("a",), ("x",), ("old.jpg",), unit(1))
    ids, labels, sources = ("a", "b", "b", "c"), ("y", "x", "y", "y"), ("new.jpg", "b1.jpg", "b2.jpg", "c.jpg")
    grown, report = start.with_added(ids, labels, sources, unit(4))
    assert (grown.ids, grown.labels) == (("a", "c"), ("x", "y"))
    assert (report.added, report.skipped) == (1, 0)
    assert report.conflicts == (
        Conflict("a", (("old.jpg", "x"), ("new.jpg", "y"))),
        Conflict("b", (("b1.jpg", "x"), ("b2.jpg", "y"))),
    )
    assert str(report.conflicts[0]) == "the same image: 'old.jpg' (x), 'new.jpg' (y)"


def test_vectors_of_another_encoder_are_refused() -> None:
    with pytest.raises(ImageMemoryError, match="encoder"):
        labelled_images().with_added(("z",), ("rust",), ("z.jpg",), unit(1, d=9))


def test_removing_by_identity_and_by_source() -> None:
    kept = labelled_images().without(ids=["id0", "unknown"], sources=[NAMES[1]])
    assert kept.ids == ("id2", "id3")
    np.testing.assert_array_equal(kept.vectors, labelled_images().vectors[2:])
    assert kept.thumbnail("id2") == b"three"


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("images.jsonl", lambda data: data[:-1]),
        ("images.jsonl", lambda data: data.replace(b"label", b"lable", 1)),
        ("images.jsonl", lambda data: data.replace(b'"id0"', b"0")),
        ("images.jsonl", lambda data: data.replace(b"id0", b"id1")),
        ("images.jsonl", lambda data: b"\xff\xfe" + data),
        ("vectors.npy", lambda data: data[:-1]),
        ("vectors.npy", lambda data: b""),
        ("vectors.npy", lambda data: data[:-4] + b"\x00\x00\xc0\x7f"),
        ("vectors.npy", lambda data: b"PK\x03\x04" + data),
        ("distances-2.npy", lambda data: data[:-4] + b"\x00\x00\x00\x00"),
        ("thumbnails.zip", lambda data: data[: len(data) // 2]),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, damage: Callable[[bytes], bytes]) -> None:
    whole = labelled_images()
    whole.kth_distances(2)
    whole.save(tmp_path)
    path = tmp_path / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PanelDamagedError, match=file):
        LabelledImages.open(tmp_path).thumbnail("id0")


@pytest.mark.parametrize("file", ["images.jsonl", "vectors.npy"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    labelled_images().save(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(PanelDamagedError, match=file):
        LabelledImages.open(tmp_path)


def test_thumbnails_may_be_absent(tmp_path: Path) -> None:
    LabelledImages(("a",), ("x",), ("s",), unit(1)).save(tmp_path)
    assert not (tmp_path / "thumbnails.zip").exists()
    assert LabelledImages.open(tmp_path).thumbnail("a") is None
