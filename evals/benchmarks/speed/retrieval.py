"""Chroma against exact search in NumPy: time for 1 and for 100 queries, and how many of the ten nearest it finds.

The vectors lie in clusters of few dimensions, as those of an encoder do: among vectors drawn evenly from a sphere all
distances are alike, and no index finds anything. Chroma is asked as a panel asks it (`ChromaIndex`), its answers held
against the records. What a panel searches instead of Chroma, see `embedded_index.COMPARED_NUMBERS`, is `ExactIndex`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from consilience.evals.benchmarks.speed.measure import Figure, ratios
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.chroma_index import ChromaIndex
from consilience.retrieval.memory.index import ExactIndex, Rows
from consilience.retrieval.memory.labelled_images import LabelledImages
from consilience.retrieval.memory.neighbour_distance import Vectors

DIMENSION, INTRINSIC, CLUSTERS = 512, 32, 64

K, QUERIES, SINGLE = 10, 100, 10


def drawn(images: int, seed: int) -> Vectors:
    """Return unit vectors float32 (n, DIMENSION) of INTRINSIC dimensions around CLUSTERS fixed centres."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng([1, seed])
    centres, basis = (fixed.normal(size=(rows, DIMENSION)).astype(np.float32) for rows in (CLUSTERS, INTRINSIC))
    spread = rng.normal(size=(images, INTRINSIC)).astype(np.float32) @ basis / INTRINSIC**0.5
    vectors = centres[rng.integers(0, CLUSTERS, images)] + spread
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def nearest(vectors: Vectors, queries: Vectors) -> Rows:
    """Return the K rows most similar to each of m queries, int (m, K), most similar first: plain NumPy."""
    similarities = queries @ vectors.T
    rows = np.argpartition(similarities, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(similarities, rows, axis=1), axis=1)
    return np.asarray(np.take_along_axis(rows, order, axis=1))


def recall(answered: Rows, wanted: Rows) -> float:
    """Return the share of the wanted rows, int (m, K), that are among those answered.

    >>> recall(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [3, 9]]))
    0.75
    """
    hits = sum(len(np.intersect1d(row, other)) for row, other in zip(answered, wanted, strict=True))
    return hits / wanted.size


def figures(quick: bool) -> list[Figure]:
    """Return the figures for 1,000, 10,000 and, unless `quick`, 100,000 entries, which take minutes to write."""
    sizes, turns = ((1_000, 10_000), 3) if quick else ((1_000, 10_000, 100_000), 7)
    return [figure for size in sizes for figure in measured(size, turns)]


def measured(images: int, turns: int) -> list[Figure]:
    """Return the figures of one memory. Each turn has queries of its own; the first is not measured."""
    vectors = drawn(images, 0)
    ids = tuple(map(vector_identity, vectors))
    labelled_images = LabelledImages(ids, ("known",) * images, ids, vectors)
    took: dict[str, list[float]] = {}
    recalls: list[float] = []

    def timed(name: str, ask: Callable[[Vectors], Rows], *asked: Vectors) -> Rows:
        start = time.perf_counter()
        rows = [ask(queries) for queries in asked]
        took.setdefault(name, []).append(time.perf_counter() - start)
        return np.concatenate(rows)

    def by_numpy(queries: Vectors) -> Rows:
        return nearest(vectors, queries)

    with (
        TemporaryDirectory() as folder,
        closing(
            ChromaIndex(labelled_images, ChromaConnection.embedded(Path(folder, "store")), "benchmark", "none")
        ) as chroma,
    ):
        chroma.sync()
        exact = ExactIndex(labelled_images)

        def by_chroma(queries: Vectors) -> Rows:
            return chroma.query(queries, K)[1]

        def by_exact_index(queries: Vectors) -> Rows:
            return exact.query(queries, K)[1]

        for turn in range(turns + 1):
            queries = drawn(QUERIES, turn + 1)
            singles = [queries[row : row + 1] for row in range(SINGLE)]
            wanted = timed("numpy, many", by_numpy, queries)
            answer = timed("chroma, many", by_chroma, queries)
            timed("exact, many", by_exact_index, queries)
            timed("numpy, one", by_numpy, *singles)
            timed("chroma, one", by_chroma, *singles)
            recalls.append(recall(answer, wanted))
    compared = [
        ("Chroma", "1 query", "chroma, one", "numpy, one"),
        ("Chroma", f"{QUERIES} queries", "chroma, many", "numpy, many"),
        ("ExactIndex", f"{QUERIES} queries", "exact, many", "numpy, many"),
    ]
    return [
        *(
            Figure(f"time, {who} / NumPy, {what} of {images:,}", ratios(took[contestant][1:], took[other][1:]))
            for who, what, contestant, other in compared
        ),
        Figure(f"recall at {K} of Chroma, {images:,}", tuple(recalls[1:])),
    ]
