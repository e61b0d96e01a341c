"""What the orchestrator itself takes: the graph, retrieval, weighing and records, without agents and encoder.

Vectors are diagnosed by a panel of real feature agents; the time that their own `predict` takes is left out. For
comparison, a LangGraph graph of the same shape whose nodes do nothing runs in the same turns.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ParamSpec, TypedDict, TypeVar
from unittest.mock import patch

import numpy as np

from consilience.evals.benchmarks.speed.measure import Figure, ratios
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.memory.image_memory import writer_lock
from consilience.retrieval.memory.labelled_images import LabelledImages

P = ParamSpec("P")
T = TypeVar("T")

LABELS, DIMENSION, BATCH = ("a", "b", "c", "d"), 1280, 64


class Stopwatch:
    """Adds up the time that some functions take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return the function; the time that its calls take is added up."""

        def timed(*arguments: P.args, **named: P.kwargs) -> T:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def clusters(images: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return unit vectors float32 (n, DIMENSION) around one centre a label, and their labels."""
    labels = np.arange(images) % len(LABELS)
    centres = np.random.default_rng(0).normal(size=(len(LABELS), DIMENSION))
    vectors = 0.4 * centres[labels] + np.random.default_rng(seed).normal(size=(images, DIMENSION))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), [LABELS[label] for label in labels]


def figures(quick: bool) -> list[Figure]:
    """Return milliseconds an image, for memories of 640 and (unless `quick`) 10,000 images."""
    vectors, labels = clusters(640, 1)
    with TemporaryDirectory() as folder:
        file = Path(folder, "vectors.npz")
        np.savez(file, embeddings=vectors, labels=labels, names=[str(row) for row in range(len(labels))])
        panel = fit(file, Path(folder, "panel")).panel
        lines = measured(panel, 3 if quick else 7)
        if not quick:
            lines += measured(_with_memory_of(10_000, panel, Path(folder, "large")), 5)
    return lines


def _with_memory_of(images: int, panel: Panel, path: Path) -> Panel:
    """Return the panel with another memory; it was fitted on fewer, which is quicker."""
    vectors, labels = clusters(images, 2)
    ids = tuple(map(vector_identity, vectors))
    path.mkdir()
    with writer_lock(path):
        return replace(panel, labelled_images=LabelledImages(ids, tuple(labels), ids, vectors)).save(
            path, overwrite=True
        )


def measured(panel: Panel, turns: int) -> list[Figure]:
    """Return the figures of one panel of vectors of DIMENSION numbers."""
    vectors, _ = clusters(10 * BATCH, 3)
    names = [str(row) for row in range(len(vectors))]
    singles = [(vectors[row : row + 1], names[row : row + 1]) for row in range(BATCH)]
    alone: list[tuple[float, float]] = []
    together: list[tuple[float, float]] = []
    bare: list[float] = []
    with _watched(panel) as (diagnoser, agents, retrieval):

        def took(batches: list[tuple[np.ndarray, list[str]]]) -> tuple[float, float]:
            """Milliseconds an image without agents, and of these in retrieval."""
            agents.seconds = retrieval.seconds = 0.0
            start = time.perf_counter()
            images = sum(len(list(diagnoser.diagnose_vectors(*batch))) for batch in batches)
            total = time.perf_counter() - start
            return 1000 * (total - agents.seconds) / images, 1000 * retrieval.seconds / images

        idle = _graph_that_does_nothing(len(panel.agents))
        took(singles)
        took([(vectors, names)])
        for _ in range(turns):
            bare.append(1000 * idle(BATCH) / BATCH)
            alone.append(took(singles))
            together.append(took([(vectors, names)]))
    what = f"memory of {len(panel.labelled_images):,}"
    return [
        Figure(f"ms an image, one a run, {what}", tuple(total for total, _ in alone), most=10),
        Figure("    without retrieval", tuple(total - part for total, part in alone)),
        Figure("    against empty nodes (ratio)", ratios([total for total, _ in alone], bare)),
        Figure(f"ms an image, {BATCH} a run, {what}", tuple(total for total, _ in together), most=1),
        Figure("    without retrieval", tuple(total - part for total, part in together)),
    ]


@contextmanager
def _watched(panel: Panel) -> Iterator[tuple[Diagnoser, Stopwatch, Stopwatch]]:
    """Return an open panel, and what its agents and its memory take."""
    agents, retrieval = Stopwatch(), Stopwatch()
    with ExitStack() as stack:
        diagnoser = stack.enter_context(Diagnoser.open(panel.path, batch_size=BATCH))
        for head in diagnoser.panel.heads:
            stack.enter_context(patch.object(head, "predict", agents.on(head.predict)))
        for name in ("query", "evidence"):
            function = getattr(diagnoser.memory, name)
            stack.enter_context(patch.object(diagnoser.memory, name, retrieval.on(function)))
        yield diagnoser, agents, retrieval


def _graph_that_does_nothing(agents: int) -> Callable[[int], float]:
    """Return a graph of the orchestrator's shape; called, it runs so many times and says how many seconds that took."""
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send

    class State(TypedDict, total=False):
        predictions: Annotated[list[int], operator.add]

    async def nothing(state: State) -> State:
        return {"predictions": [1]}

    graph: Any = StateGraph(State)
    for name in ("retrieve", "predict", "weigh", "conclude"):
        graph.add_node(name, nothing)
    graph.add_edge(START, "retrieve")
    graph.add_conditional_edges("retrieve", lambda _: [Send("predict", {"predictions": []})] * agents, ["predict"])
    graph.add_edge("predict", "weigh")
    graph.add_edge("weigh", "conclude")
    graph.add_edge("conclude", END)
    compiled = graph.compile()

    async def runs(times: int) -> None:
        for _ in range(times):
            await compiled.ainvoke({"predictions": []})

    def took(times: int) -> float:
        start = time.perf_counter()
        asyncio.run(runs(times))
        return time.perf_counter() - start

    return took
