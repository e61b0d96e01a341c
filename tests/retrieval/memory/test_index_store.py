"""The embedded store: one owner, readers that are never refused, damage that never shows in an answer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consilience.core.errors import MemoryBusyError
from consilience.retrieval.memory import embedded_index
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages

N = 1200
"""More than Chroma keeps in its log alone: it has written index files that can be damaged."""


@pytest.fixture(autouse=True)
def nothing_is_too_small_for_chroma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_index, "COMPARED_NUMBERS", 0)


def clustered(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(12, d))[rng.integers(0, 12, N)] + 0.4 * rng.normal(size=(N, d)))[:n]
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def labelled_images(n: int = N) -> LabelledImages:
    ids = tuple(f"id{row}" for row in range(n))
    return LabelledImages(ids, tuple("ab"[row % 2] for row in range(n)), ids, clustered(n))


def opened(folder: Path, memory: LabelledImages) -> ImageMemory:
    return ImageMemory.open(memory, ("a", "b"), store=folder / "index", fingerprint="e", panel="p")


def assert_right(memory: ImageMemory) -> None:
    queries = clustered(50, seed=1)
    rows = ExactIndex(memory.labelled_images).query(queries, 5)[1]
    neighbourhood = memory.query(queries, 5)
    assert (
        neighbourhood.rows == rows
    ).mean() >= 0.99  # Chroma's search is approximate: 1 neighbour in 100,000 is missed
    similarities = np.einsum("mkd,md->mk", memory.labelled_images.vectors[neighbourhood.rows], queries)
    np.testing.assert_allclose(neighbourhood.similarities, similarities, atol=1e-6)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    with opened(folder, labelled_images()) as memory:
        assert memory.index_name == "chroma"
    return folder


@pytest.fixture
def panel(prepared: Path, tmp_path: Path) -> Path:
    """A copy of a panel's index, left in order."""
    shutil.copytree(prepared, tmp_path / "panel")
    return tmp_path / "panel"


def segment(panel: Path) -> Path:
    (folder,) = (path for path in (panel / "index").iterdir() if path.is_dir())
    return folder


def zero_data(panel: Path) -> None:
    data = segment(panel) / "data_level0.bin"
    data.write_bytes(bytes(data.stat().st_size))


def random_bytes(panel: Path) -> None:
    data = segment(panel) / "data_level0.bin"
    data.write_bytes(np.random.default_rng(0).bytes(data.stat().st_size))


def halve_the_database(panel: Path) -> None:
    database = panel / "index" / "chroma.sqlite3"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage", [lambda panel: shutil.rmtree(segment(panel)), zero_data, random_bytes, halve_the_database]
)
def test_damage_never_shows_in_an_answer_and_can_be_repaired(panel: Path, damage: Callable[[Path], None]) -> None:
    damage(panel)
    with opened(panel, labelled_images()) as memory:
        assert memory.index_name == "exact"
        assert_right(memory)
        memory.repair()
        assert memory.index_name == "chroma"
        assert_right(memory)
        assert memory.mismatches == 0


@pytest.mark.slow
def test_check_names_the_damage_and_repair_heals_it(panel: Path, caplog: pytest.LogCaptureFixture) -> None:
    random_bytes(panel)
    with opened(panel, labelled_images()) as memory:
        memory.prepare()
    caplog.clear()
    with opened(panel, labelled_images()) as memory:  # known by its seal: no second examination
        memory.prepare()
        assert "is damaged" in caplog.text
        report = memory.check()
        assert report.damaged
        assert "crashes a process (signal 11)" in report.problems[0]
        assert_right(memory)
        memory.repair()
        assert memory.check().ok
        assert memory.index_name == "chroma"
        assert_right(memory)


def test_an_index_left_in_order_is_opened_without_examination(panel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    for _ in range(2):
        with opened(panel, labelled_images()) as memory:
            assert memory.index_name == "chroma"
            assert_right(memory)


def test_an_index_that_is_only_behind_is_brought_up_to_date(panel: Path) -> None:
    (panel / "index.seal.json").unlink()  # as if killed while writing
    newer = replace(labelled_images(), labels=("b", *labelled_images().labels[1:])).without(ids=["id7"])
    with opened(panel, newer) as memory:
        assert memory.index_name == "chroma"
        assert memory.check().ok
        assert_right(memory)


READER = """
import json, sys
from pathlib import Path
from consilience.retrieval.memory.image_memory import ImageMemory
from consilience.retrieval.memory.labelled_images import LabelledImages

records = LabelledImages.open(Path(sys.argv[1]))
memory = ImageMemory.open(records, ("a", "b"), store=Path(sys.argv[2]) / "index", fingerprint="e", panel="p")
print(json.dumps([memory.index_name, memory.query(records.vectors[:5], 3).rows.tolist()]), flush=True)
sys.stdin.read()
"""


def test_a_second_reader_is_not_refused_and_follows_a_killed_owner(tmp_path: Path) -> None:
    memory = labelled_images(80)
    memory.save(tmp_path / "records")
    command = [sys.executable, "-c", READER, str(tmp_path / "records"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        name, rows = json.loads(owner.stdout.readline())
        expected = ExactIndex(memory).query(memory.vectors[:5], 3)[1].tolist()
        assert (name, rows) == ("chroma", expected)
        with opened(tmp_path, memory) as second:
            assert second.index_name == "exact"
            assert_right(second)
            for refused in (second.check, second.repair):
                with pytest.raises(MemoryBusyError, match=f"the process {owner.pid}"):
                    refused()
        owner.send_signal(signal.SIGKILL)
        owner.wait(timeout=30)
    with opened(tmp_path, memory) as next_owner:
        assert next_owner.index_name == "chroma"
        assert_right(next_owner)


def test_two_memories_of_one_process(tmp_path: Path) -> None:
    first = opened(tmp_path, labelled_images(50))
    assert not (tmp_path / "index").exists()  # nobody owns what nobody has needed yet
    first.prepare()
    second = opened(tmp_path, labelled_images(60))
    assert (first.index_name, second.index_name) == ("chroma", "exact")
    assert_right(second)
    first.close()
    first.close()
    with opened(tmp_path, labelled_images(60)) as third:
        assert third.index_name == "chroma"
        assert_right(third)


def test_a_memory_that_is_dropped_lets_go(tmp_path: Path) -> None:
    dropped = opened(tmp_path, labelled_images(20))
    assert dropped.index_name == "chroma"
    del dropped
    with opened(tmp_path, labelled_images(20)) as memory:
        assert memory.index_name == "chroma"
