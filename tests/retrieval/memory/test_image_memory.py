"""The image memory: neighbours, evidence, novelty."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from consilience.core.errors import ImageMemoryError, PanelBusyError, PanelError
from consilience.core.evidence import Evidence
from consilience.retrieval.memory import embedded_index
from consilience.retrieval.memory.image_memory import ImageMemory, writer_lock
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def plane(*degrees: float, labels: str = "") -> LabelledImages:
    """Images that stand at these angles, named by them."""
    ids = tuple(f"{angle:g}" for angle in degrees)
    return LabelledImages(ids, tuple(labels or "x" * len(ids)), tuple(f"{i}.jpg" for i in ids), at(*degrees))


def remember(labelled_images: LabelledImages, labels: str = "xy") -> ImageMemory:
    return ImageMemory(labelled_images, tuple(labels), ExactIndex(labelled_images))


def test_neighbours_are_the_nearest_with_their_labels() -> None:
    memory = remember(plane(0, 60, 90, labels="xyx"))
    neighbourhood = memory.query(at(80, 10), 2)
    assert neighbourhood.rows.tolist() == [[2, 1], [0, 1]]
    assert neighbourhood.labels.tolist() == [[0, 1], [0, 1]]
    np.testing.assert_allclose(neighbourhood.similarities, np.cos(np.radians([[10, 20], [10, 50]])), atol=1e-6)
    assert memory.count() == 3


def test_an_image_of_the_memory_is_not_its_own_neighbour(tmp_path: Path) -> None:
    labelled_images = plane(0, 60, 90)
    with ImageMemory.open(labelled_images, "x", store=tmp_path / "index", fingerprint="e", panel="p") as chroma:
        for memory in (remember(labelled_images), chroma):
            neighbourhood = memory.query(labelled_images.vectors, 1, exclude=labelled_images.ids)
            assert neighbourhood.rows.tolist() == [[1], [2], [1]]
            neighbourhood = memory.query(at(0, 1, 60), 2, exclude=["0", None, "not there"])
            assert neighbourhood.rows.tolist() == [[1, 2], [0, 1], [1, 2]]
            assert memory.query(labelled_images.vectors, 9, exclude=labelled_images.ids).rows.tolist() == [
                [1, 2],
                [2, 0],
                [1, 0],
            ]
            assert memory.query(labelled_images.vectors, 9).rows.shape == (3, 3)


@pytest.mark.parametrize(("images", "is_asked"), [(20, False), (21, True)])
def test_chroma_is_opened_for_what_is_too_much_to_compare(
    images: int, is_asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_index, "COMPARED_NUMBERS", 20 * 2)
    labelled_images = plane(*(360 * np.arange(images) / images))
    with ImageMemory.open(labelled_images, "x", store=tmp_path / "index", fingerprint="e", panel="p") as memory:
        assert memory.query(labelled_images.vectors, 1).rows[:, 0].tolist() == list(range(images))
        memory.prepare()  # what is not searched need not be built
        assert (tmp_path / "index").exists() == is_asked
        assert memory.index_name == "chroma"


def test_a_batch_is_answered_as_its_queries_are_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_index, "COMPARED_NUMBERS", 0)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(240, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = tuple(map(str, range(200)))
    labelled_images = LabelledImages(ids, ("x",) * 200, ids, vectors[:200])
    with ImageMemory.open(labelled_images, "x", store=tmp_path / "index", fingerprint="e", panel="p") as memory:
        assert memory.index_name == "chroma"
        together = memory.query(vectors[200:], 10)
        alone = [memory.query(vector[None], 10) for vector in vectors[200:]]
    assert together.rows.tolist() == [neighbourhood.rows[0].tolist() for neighbourhood in alone]
    assert together.similarities.tolist() == [neighbourhood.similarities[0].tolist() for neighbourhood in alone]


def test_twins_do_not_hide_each_other_when_one_is_left_out() -> None:
    labelled_images = LabelledImages(("a", "b", "c"), ("x",) * 3, ("",) * 3, at(10, 10, 10))
    assert remember(labelled_images).query(at(10, 10), 2, exclude=["b", "c"]).rows.tolist() == [[0, 2], [0, 1]]


def test_neither_an_image_nor_its_group_is_its_own_neighbour() -> None:
    vectors = at(0, 10, 20, 90, 100)
    labelled_images = LabelledImages((*"abcde",), ("x",) * 5, ("",) * 5, vectors, (), ("p", "p", "p", "q", "r"))
    memory = remember(labelled_images)
    assert memory.query(vectors[[0, 3, 0]], 9, exclude=["a", "d", None]).rows.tolist() == [[3, 4], [4, 2], [0, 1]]
    assert memory.query(vectors[[4]], 9, exclude=["e"]).rows.tolist() == [[3, 2, 1, 0]]


def test_evidence_is_what_the_core_reads() -> None:
    pictures = {"60": b"jpeg"}
    memory = remember(LabelledImages(("0", "60"), ("x", "y"), ("0.jpg", "叶.jpg"), at(0, 60), (pictures,)), "zyx")
    (plain,) = memory.evidence(memory.query(at(60), 2))
    evidence = Evidence.from_dict(plain, memory.labelled_images.thumbnail)
    assert evidence.to_dict() == plain
    assert [prediction.label for prediction in evidence.neighbours] == ["y", "x"]
    assert evidence.neighbours[0].source == "叶.jpg"
    assert evidence.neighbours[0].thumbnail() == b"jpeg"
    assert evidence.neighbours[1].thumbnail() is None
    assert list(evidence.distribution) == ["z", "y", "x"]
    assert evidence.distribution == pytest.approx({"z": 0, "y": 2 / 3, "x": 1 / 3})  # similarities 1 and 1/2


def test_neighbours_that_point_away_count_nothing_unless_all_do() -> None:
    memory = remember(plane(0, 180, labels="xy"))
    assert memory.evidence(memory.query(at(10), 2))[0]["distribution"] == pytest.approx({"x": 1, "y": 0})
    memory = remember(plane(170, 190, labels="xy"))
    assert memory.evidence(memory.query(at(0), 2))[0]["distribution"] == pytest.approx({"x": 0.5, "y": 0.5})


def test_the_rank_of_a_distance_is_the_share_of_the_memory_that_lies_closer() -> None:
    memory = remember(plane(0, 60, 90))  # to the nearest other: 60, 30 and 30 degrees
    novelties = memory.distance_ranks(memory.query(at(20, 130, 200, 30), 1))
    assert novelties == pytest.approx([0, 2 / 3, 1, 0])  # 20, 40, 110 and 30 degrees to the nearest
    own = memory.distance_ranks(memory.query(memory.labelled_images.vectors, 1, exclude=memory.labelled_images.ids))
    assert own == pytest.approx([2 / 3, 0, 0])


@pytest.mark.parametrize("n", [0, 1])
def test_a_memory_too_small_to_say(n: int, tmp_path: Path) -> None:
    labelled_images = plane(*[0.0][:n]) if n else LabelledImages((), (), (), np.empty((0, 2), np.float32))
    with ImageMemory.open(labelled_images, "xy", store=tmp_path / "index", fingerprint="e", panel="p") as memory:
        assert memory.index_name == "chroma"
        (evidence,) = memory.evidence(memory.query(at(0), 3))
        assert memory.distance_ranks(memory.query(at(0), 3)).tolist() == [1.0]
        assert len(evidence["neighbours"]) == n
        assert evidence["distribution"] == ({"x": 1.0, "y": 0.0} if n else {})
        assert memory.check().ok


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageMemoryError, match="'y'"):
        remember(plane(0, 1, labels="xy"), "xz")
    memory = remember(plane(0))
    with pytest.raises(ImageMemoryError, match="encoder"):
        memory.query(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ImageMemoryError, match="1 or more"):
        memory.query(at(0), 0)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with writer_lock(tmp_path):
        with pytest.raises(PanelBusyError, match="this process"), writer_lock(tmp_path):
            pass
        (tmp_path / "writer.lock").write_text("4242", encoding="ascii")
        with pytest.raises(PanelBusyError, match="the process 4242"), writer_lock(tmp_path):
            pass
    with writer_lock(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(PanelError, match="cannot be written"), writer_lock(tmp_path / "file"):
        pass


def test_where_no_index_can_be_kept_the_memory_is_searched_exactly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    memory = ImageMemory.open(plane(0, 60), "x", store=tmp_path / "file" / "index", fingerprint="e", panel="p")
    with caplog.at_level(logging.WARNING), memory:
        assert memory.index_name == "exact"
        assert memory.query(at(50), 1).rows.tolist() == [[1]]
        with pytest.raises(ImageMemoryError, match="cannot be used"):
            memory.check()
    assert "searched exactly" in caplog.text
