"""What the orchestrator itself takes: the graph, retrieval, weighing and records, without agents and encoder.

Vectors are diagnosed by a panel of real feature agents; the time that their own `predict` takes is left out. Beside it
stands a panel with one more agent, which looks again at what the first looks cannot settle. Times are of the processor,
all threads, which other work on the machine changes least. For comparison, a LangGraph graph of the same shape whose
nodes do nothing runs in the same turns.

The panel is fitted on 640 images. For more, everything that it knows of its labelled images is repeated: memory,
out-of-fold posteriors, second looks, signs of novelty. Retrieval, whose time is left out where that is said, is exact
here whatever the size: how an index does is another benchmark's (`retrieval`).
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ParamSpec, TypedDict, TypeVar
from unittest.mock import patch

import numpy as np

from consilience.agents import AgentInput
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction
from consilience.core.settings.settings import PolicySettings
from consilience.core.task import Task
from consilience.core.trust import Trust
from consilience.evals.benchmarks.speed.measure import Figure, ratios
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.ensemble.scaling import TemperatureScaling
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.memory import embedded_index
from consilience.retrieval.memory.image_memory import writer_lock
from consilience.retrieval.memory.labelled_images import LabelledImages

P = ParamSpec("P")
T = TypeVar("T")

LABELS, DIMENSION, BATCH = ("a", "b", "c", "d"), 1280, 64

FITTED_ON, SIZES = 640, (10_000, 100_000)

AGENTS_WEIGHED, LABELS_WEIGHED, IMAGES_WEIGHED = 40, 100, 2_000
"""Of the figure that begins with calibrated answers."""


class Stopwatch:
    """Adds up the processor's time that some functions take in the thread that calls them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return the function; the time that its calls take is added up."""

        def timed(*arguments: P.args, **named: P.kwargs) -> T:
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.thread_time() - start

        return timed


class LooksAgain:
    """An agent that takes the nearest case's label for the image's, and says the same again, only surer."""

    name, can_revise = "again", True

    def predict(self, inputs: AgentInput) -> Sequence[Prediction]:
        """Return the first looks."""
        return self._answers(inputs, 0.6)

    def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> Sequence[Prediction]:
        """Return the second looks."""
        return self._answers(inputs, 0.8)

    def _answers(self, inputs: AgentInput, confidence: float) -> list[Prediction]:
        names = inputs.task.names
        rest = dict.fromkeys(names, (1 - confidence) / (len(names) - 1))
        nearest = inputs.neighbour_labels[:, 0].tolist()
        return [Prediction(self.name, probabilities={**rest, names[place]: confidence}) for place in nearest]


def clusters(images: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return unit vectors float32 (n, DIMENSION) around one centre a label, and their labels."""
    labels = np.arange(images) % len(LABELS)
    centres = np.random.default_rng(0).normal(size=(len(LABELS), DIMENSION))
    vectors = 0.4 * centres[labels] + np.random.default_rng(seed).normal(size=(images, DIMENSION))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), [LABELS[label] for label in labels]


def between(images: int, seed: int) -> np.ndarray:
    """Return unit vectors float32 (n, DIMENSION), each between images of two labels: hardly one can be settled."""
    (first, _), (second, _) = clusters(images + 1, seed), clusters(images + 1, seed + 1)
    vectors = first[:-1] + second[1:]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def figures(quick: bool) -> list[Figure]:
    """Return milliseconds an image, for panels of 640 and (unless `quick`) 10,000 and 100,000 labelled images."""
    vectors, labels = clusters(FITTED_ON, 1)
    lines = weighed(3)
    with TemporaryDirectory() as folder, patch.object(embedded_index, "COMPARED_NUMBERS", max(SIZES) * DIMENSION):
        file = Path(folder, "vectors.npz")
        np.savez(file, embeddings=vectors, labels=labels, names=[str(row) for row in range(len(labels))])
        panel = fit(file, Path(folder, "panel")).panel
        again = fit(file, Path(folder, "again"), agents=[LooksAgain()]).panel
        lines += measured(panel, 3 if quick else 7) + looked_at_again(again, 3)
        for size in () if quick else SIZES:
            lines += measured(grown(size, panel, Path(folder, f"of-{size}")), 5)
            lines += looked_at_again(grown(size, again, Path(folder, f"again-of-{size}")), 3)
    return lines


def grown(images: int, panel: Panel, path: Path) -> Panel:
    """Return the panel as if it had been fitted on so many images: other vectors; the rest is repeated."""
    vectors, labels = clusters(images, 2)
    ids, rows = tuple(map(vector_identity, vectors)), np.arange(images) % len(panel.labelled_images)
    calibration_set, second_looks, novelty = panel.calibration_set, panel.second_looks, panel.novelty
    again = {agent: second.take(rows) for agent, second in calibration_set.again.items()}
    if novelty is not None:
        novelty = replace(
            novelty,
            signs={name: np.sort(values[rows]) for name, values in novelty.signs.items()},
            scores=np.sort(novelty.scores[rows]),
            keys=novelty.keys[rows],
            own=novelty.own[rows],
            nearest=novelty.nearest[rows],
        )
    large = replace(
        panel,
        labelled_images=LabelledImages(ids, tuple(labels), ids, vectors),
        calibration_set=replace(calibration_set.take(rows), groups=np.arange(images), again=again),
        second_looks=replace(
            second_looks,
            words=second_looks.words[:, rows],
            named=second_looks.named[:, rows],
            labels=second_looks.labels[rows],
        ),
        novelty=novelty,
    )
    path.mkdir()
    with writer_lock(path):
        return large.save(path, overwrite=True)


def measured(panel: Panel, turns: int) -> list[Figure]:
    """Return the figures of one panel of vectors of DIMENSION numbers."""
    vectors, _ = clusters(10 * BATCH, 3)
    names = [str(row) for row in range(len(vectors))]
    singles = [(vectors[row : row + 1], names[row : row + 1]) for row in range(BATCH)]
    alone: list[tuple[float, float, float]] = []
    together: list[tuple[float, float, float]] = []
    bare: list[float] = []
    with _timed(panel) as timed:
        idle = _graph_that_does_nothing(len(panel.agents))
        timed(singles)
        timed([(vectors, names)])
        for _ in range(turns):
            bare.append(1000 * idle(BATCH) / BATCH)
            alone.append(timed(singles))
            together.append(timed([(vectors, names)]))
    of = f"{len(panel.labelled_images):,} labelled images"
    single, *parts = _lines(f"ms an image, one a run, {of}", alone, most=7)
    ratio = Figure("    against empty nodes (ratio)", ratios(single.values, bare))
    return [single, ratio, *parts, *_lines(f"ms an image, {BATCH} a run, {of}", together, most=0.6)]


def looked_at_again(panel: Panel, turns: int) -> list[Figure]:
    """Return the figures of images that the first looks do not settle, of a panel with LooksAgain."""
    images: list[tuple[np.ndarray, list[str]]] = [(vector[None], ["between"]) for vector in between(BATCH, 4)]
    with _timed(panel) as timed:
        timed(images)
        took = [timed(images) for _ in range(turns)]
    return _lines(f"ms an image, not settled at first, {len(panel.labelled_images):,} labelled images", took)


def _lines(what: str, took: list[tuple[float, float, float]], most: float | None = None) -> list[Figure]:
    """Return the figures of turns that `_timed` measured; `most`: without retrieval."""
    return [
        Figure(what, tuple(total for total, _, _ in took)),
        Figure("    without retrieval", tuple(total - part for total, part, _ in took), most=most),
        Figure("    by the clock, with agents and retrieval", tuple(clock for _, _, clock in took)),
    ]


def weighed(turns: int) -> list[Figure]:
    """Return how many images a second are decided on once calibrated answers are there, of many agents and labels."""
    members, fusion, policy = AGENTS_WEIGHED, *_of_many()
    names = [f"agent-{number}" for number in range(members)]
    weigher = Weigher(
        Task.from_labels([f"label-{place}" for place in range(LABELS_WEIGHED)]),
        tuple(
            Member(name, "first", TemperatureScaling(1.0), Trust(name, "first", n=0, ece=0.0, ocr=0.0, ccc=0.0))
            for name in names
        ),
        fusion,
        policy,
    )
    calibrated, novelty = _answers(IMAGES_WEIGHED, 1)[0], dict.fromkeys(range(IMAGES_WEIGHED), 0.0)
    rates, clock = [], []
    for _ in range(turns + 1):
        start, wall = time.process_time(), time.perf_counter()
        weigher.weighed(calibrated, *fusion.posterior(calibrated), novelty, 1)
        rates.append(IMAGES_WEIGHED / (time.process_time() - start))
        clock.append(IMAGES_WEIGHED / (time.perf_counter() - wall))
    what = f"images a second, calibrated answers of {members} agents, {LABELS_WEIGHED} labels"
    return [Figure(what, tuple(rates[1:]), least=2_000), Figure("    by the clock", tuple(clock[1:]))]


def _of_many() -> tuple[Fusion, Policy]:
    calibrated, labels = _answers(1_000, 0)
    fusion = Fusion.from_predictions(calibrated, labels)
    return fusion, Policy.chosen(PolicySettings(), CalibrationSet.of(fusion.posterior(calibrated)[0], labels))


def _answers(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return answers of agents of unequal skill that err independently, (a, n, c), and the true labels, int (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(LABELS_WEIGHED, size=images)
    logits = rng.normal(size=(AGENTS_WEIGHED, images, LABELS_WEIGHED))
    logits[:, np.arange(images), labels] += np.linspace(1.0, 4.0, AGENTS_WEIGHED)[:, None]
    shares = np.exp(logits)
    return shares / shares.sum(axis=2, keepdims=True), labels


Timed = Callable[[list[tuple[np.ndarray, list[str]]]], tuple[float, float, float]]
"""Takes batches of vectors and names; returns milliseconds an image: of the processor without agents, of these in
retrieval, and by the clock with everything."""


@contextmanager
def _timed(panel: Panel) -> Iterator[Timed]:
    """Open a panel, and return what times its diagnoses."""
    agents, retrieval = Stopwatch(), Stopwatch()
    with ExitStack() as stack:
        others = [LooksAgain() for name in panel.agents if name == LooksAgain.name]
        diagnoser = stack.enter_context(Diagnoser.open(panel.path, agents=others, batch_size=BATCH))
        for agent in diagnoser.graph.agents.values():
            for name in ("predict", "revise"):
                stack.enter_context(patch.object(agent, name, agents.on(getattr(agent, name))))
        for name in ("query", "evidence"):
            function = getattr(diagnoser.memory, name)
            stack.enter_context(patch.object(diagnoser.memory, name, retrieval.on(function)))

        def timed(batches: list[tuple[np.ndarray, list[str]]]) -> tuple[float, float, float]:
            agents.seconds = retrieval.seconds = 0.0
            start, clock = time.process_time(), time.perf_counter()
            images = sum(len(list(diagnoser.diagnose_vectors(*batch))) for batch in batches)
            total, wall = time.process_time() - start - agents.seconds, time.perf_counter() - clock
            return 1000 * total / images, 1000 * retrieval.seconds / images, 1000 * wall / images

        yield timed


def _graph_that_does_nothing(agents: int) -> Callable[[int], float]:
    """Return a graph of the orchestrator's shape; called, it runs so many times and returns the processor's seconds."""
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
        start = time.process_time()
        asyncio.run(runs(times))
        return time.process_time() - start

    return took
