"""The exact search against brute force, and Chroma against the exact search."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.retrieval.memory import index as index_module
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.chroma_index import ChromaIndex, collection_name
from consilience.retrieval.memory.index import ExactIndex
from consilience.retrieval.memory.labelled_images import LabelledImages

NAME = collection_name("a panel", "an encoder")


def clustered(n: int, d: int = 32, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(12, d))[random.integers(0, 12, n)] + 0.4 * random.normal(size=(n, d))
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def labelled_images(vectors: np.ndarray) -> LabelledImages:
    ids = tuple(f"id{row}" for row in range(len(vectors)))
    return LabelledImages(ids, tuple("ab"[row % 2] for row in range(len(ids))), ids, vectors)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[ChromaConnection]:
    opened = ChromaConnection.embedded(tmp_path / "store")
    yield opened
    opened.close()


def held(connection: ChromaConnection) -> list[str]:
    return sorted(connection.client.get_collection(NAME, embedding_function=None).get(include=[])["ids"])


directions = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=4, max_size=4).filter(any)
matrices = st.lists(directions, min_size=1, max_size=30).map(lambda rows: np.array(rows, np.float32))


@given(memory=matrices, queries=matrices, k=st.integers(1, 40), cells=st.sampled_from([1, 64, 2**20]))
@settings(max_examples=150)
def test_exact_search_is_a_sort_by_similarity_then_row(
    memory: np.ndarray, queries: np.ndarray, k: int, cells: int
) -> None:
    memory, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (memory, queries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "CELLS", cells)
        similarities, rows = ExactIndex(labelled_images(memory)).query(queries, k)
    for query, similarity, order in zip(queries, similarities, rows, strict=True):
        expected = np.clip(np.einsum("nd,d->n", memory, query), -1, 1)
        np.testing.assert_array_equal(order, np.argsort(-expected, kind="stable")[:k])
        np.testing.assert_array_equal(similarity, expected[order])


@pytest.mark.parametrize("n", [0, 1, 5])
def test_no_more_neighbours_than_images(n: int, connection: ChromaConnection) -> None:
    small = labelled_images(clustered(n))
    index = ChromaIndex(small, connection, NAME, "an encoder")
    index.sync()
    for searched in (index, ExactIndex(small)):
        similarities, rows = searched.query(clustered(3, seed=1), 10)
        assert similarities.shape == rows.shape == (3, n)
        assert sorted(rows[0]) == list(range(n))


def test_chroma_finds_what_the_exact_search_finds(connection: ChromaConnection) -> None:
    memory = labelled_images(clustered(1500))
    index = ChromaIndex(memory, connection, NAME, "an encoder")
    assert index.sync() == 1500
    queries = clustered(250, seed=1)
    similarities, rows = index.query(queries, 10)
    exact = ExactIndex(memory).query(queries, 10)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact, strict=True)])
    assert recall >= 0.99
    assert index.mismatches == 0
    np.testing.assert_allclose(similarities, np.einsum("mkd,md->mk", memory.vectors[rows], queries), atol=1e-6)


def test_syncing_writes_only_what_changed(connection: ChromaConnection) -> None:
    first = labelled_images(clustered(60))
    index = ChromaIndex(first, connection, NAME, "an encoder")
    assert (index.sync(), index.sync()) == (60, 0)
    assert ChromaIndex(first, connection, NAME, "an encoder").sync() == 0
    relabelled = replace(first, labels=("b", *first.labels[1:])).without(ids=["id5", "id6"])
    second, _ = relabelled.with_added(["new"], ["a"], ["new"], clustered(1, seed=9))
    index = ChromaIndex(second, connection, NAME, "an encoder")
    report = index.check()
    assert (report.missing, report.unknown, report.outdated, report.wrong) == (1, 2, 1, 0)
    assert len(report.problems) == 3
    assert not report.damaged
    assert index.sync() == 4
    assert held(connection) == sorted(second.ids)
    assert index.check().ok


def test_a_row_deleted_behind_our_back_is_put_back(connection: ChromaConnection) -> None:
    memory = labelled_images(clustered(40))
    ChromaIndex(memory, connection, NAME, "an encoder").sync()
    connection.client.get_collection(NAME, embedding_function=None).delete(ids=["id3"])
    assert ChromaIndex(memory, connection, NAME, "an encoder").sync() == 1


def test_answers_that_do_not_agree_with_the_records_are_not_used(
    connection: ChromaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    memory = labelled_images(clustered(300))
    index = ChromaIndex(memory, connection, NAME, "an encoder")
    index.sync()
    collection = connection.client.get_collection(NAME, embedding_function=None)
    queries = memory.vectors[:2]
    expected, exact = ExactIndex(memory).query(queries, 5)

    collection.upsert(ids=["intruder"], embeddings=memory.vectors[:1])  # an image that the labelled images do not know
    collection.update(ids=["id5"], embeddings=memory.vectors[1:2])  # another vector than the labelled images'
    for _ in range(2):
        similarities, rows = index.query(queries, 5)
        np.testing.assert_array_equal(rows, exact)
        np.testing.assert_array_equal(similarities, expected)
    assert index.mismatches == 4
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "check DIR --repair" in caplog.text
    assert (index.check().unknown, index.check().wrong) == (1, 1)

    collection.delete(ids=[f"id{row}" for row in range(297)])  # fewer answers than asked for
    np.testing.assert_array_equal(index.query(queries, 5)[1], exact)
    index.repair()
    assert index.check().ok


def test_a_deleted_collection_is_answered_for_exactly(
    connection: ChromaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    memory = labelled_images(clustered(50))
    index = ChromaIndex(memory, connection, NAME, "an encoder")
    index.sync()
    connection.client.delete_collection(NAME)
    np.testing.assert_array_equal(index.query(memory.vectors, 4)[1], ExactIndex(memory).query(memory.vectors, 4)[1])
    assert "answering without it" in caplog.text
    assert index.check().error is not None


def test_names_in_any_script(connection: ChromaConnection) -> None:
    names = (
        "叶/病斑.jpg",
        "лист\nвторой\r.jpg",
        "ورقة\u202e.jpg",
        os.fsdecode(b"caf\xe9\xff.jpg"),
        "🍏\u2028",
        "a\0b",
        "",
    )
    ids = tuple(f"{number}\n🍏" for number in range(len(names)))
    memory = LabelledImages(ids, ("健康\n", "больной", *["a"] * 5), names, clustered(7))
    index = ChromaIndex(memory, connection, NAME, "an encoder")
    assert index.sync() == 7
    assert index.check().ok
    np.testing.assert_array_equal(index.query(memory.vectors, 1)[1][:, 0], range(7))
    assert index.mismatches == 0


def test_a_forked_child_does_not_hang(connection: ChromaConnection) -> None:
    memory = labelled_images(clustered(50))
    index = ChromaIndex(memory, connection, NAME, "an encoder")
    index.sync()
    index.query(memory.vectors, 1)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        right = (index.query(memory.vectors, 1)[1][:, 0] == np.arange(50)).all()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


KILLED_WHILE_INDEXING = """
import os, signal, sys, threading
from pathlib import Path
from consilience.retrieval.memory import chroma_index as chroma
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.labelled_images import LabelledImages

chroma.WRITTEN_AT_ONCE = 100
memory, connection = LabelledImages.open(Path(sys.argv[1])), ChromaConnection.embedded(Path(sys.argv[2]))
index = chroma.ChromaIndex(memory, connection, sys.argv[3], "e")
upsert, calls = index._collection.upsert, []

def killed_in_the_fifth_call(**batch):
    calls.append(batch)
    if len(calls) == 5:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGKILL)).start()
    upsert(**batch)

index._collection.upsert = killed_in_the_fifth_call
index.sync()
"""


def test_killed_while_indexing_it_goes_on_where_it_was(tmp_path: Path) -> None:
    memory = labelled_images(clustered(1500))
    memory.save(tmp_path / "records")
    arguments = [tmp_path / "records", tmp_path / "store", NAME]
    child = subprocess.run([sys.executable, "-c", KILLED_WHILE_INDEXING, *map(str, arguments)], check=False)
    assert child.returncode == -signal.SIGKILL
    connection = ChromaConnection.embedded(tmp_path / "store")
    try:
        before = held(connection)
        assert 400 <= len(before) < 1500
        index = ChromaIndex(memory, connection, NAME, "e")
        assert index.sync() == 1500 - len(before)
        assert held(connection) == sorted(memory.ids)
        assert index.check().ok
    finally:
        connection.close()
