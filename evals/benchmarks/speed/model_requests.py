"""How well the waiting for models behind endpoints overlaps: 3 of them on one panel, each L seconds a request.

From image files to diagnoses, on a panel of agents on EfficientNet-Lite0 and the three. A server of our own answers
after L; what comes on top is ours: decoding, embedding, what is sent, the graph. The ideal of n images is 3 n L / 32,
without a slot that is ever idle. In sequence, as the paper's code does it, each model is asked about each image when
the one before has answered; that is timed on the first few images and scaled up.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from consilience.agents import AgentInput, ReplyCache, VlmAgent, VlmSettings
from consilience.core.diagnosis import FailedImage
from consilience.core.images import load_image
from consilience.core.task import Task
from consilience.evals.benchmarks.speed.encoder_rate import write_jpegs
from consilience.evals.benchmarks.speed.measure import Figure, ratios, seconds
from consilience.evals.benchmarks.speed.slow_server import SlowServer, slow_server
from consilience.evals.benchmarks.speed.startup import labelled_folder
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit

NAMES = ("first-model", "second-model", "third-model")

REQUESTS_AT_ONCE = 32

SHARES = (11, 11, 10)
"""Requests at once of each model, REQUESTS_AT_ONCE together: the setting is one of each agent, and they share a
server."""

ANSWER = json.dumps({"rationale": "a smooth gradient with grain", "label": "one", "confidence": 0.8})


@dataclass(frozen=True)
class Bench:
    """What is the same for every latency: a fitted panel, and images that it has not seen."""

    panel: Path
    images: Sequence[Path]

    def diagnose_all(self, models: Sequence[VlmAgent]) -> float:
        """Return the seconds for all images, in batches so small that the first requests soon leave."""
        with Diagnoser.open(self.panel, agents=models, batch_size=REQUESTS_AT_ONCE) as diagnoser:
            start = time.perf_counter()
            results = list(diagnoser.diagnose_many(self.images))
            took = time.perf_counter() - start
        for result in results:
            if isinstance(result, FailedImage) or any(prediction.error for prediction in result.predictions):
                raise RuntimeError(f"an answer is missing: {result}")
        return took

    def diagnose_each(self, models: Sequence[VlmAgent], images: int) -> list[float]:
        """Return the seconds for each of the first images, one a run, when all has been used once."""
        with Diagnoser.open(self.panel, agents=models) as diagnoser:
            timed = {str(path): partial(diagnoser.diagnose, path) for path in self.images[:images]}
            return [took for (took,) in seconds(timed, 1).values()]

    def ask_in_sequence(self, models: Sequence[VlmAgent], images: int) -> float:
        """Return the seconds for the requests about the first images, one after the other, and nothing else."""
        task = Task.from_labels(["one", "other"])
        vector, nearest = np.ones((1, 1), np.float32), np.zeros((1, 1), np.intp)

        async def ask() -> None:
            for path in self.images[:images]:
                inputs = AgentInput(task, [load_image(path)], vector, nearest, vector)
                for model in models:
                    await model.predict(inputs)

        start = time.perf_counter()
        asyncio.run(ask())
        return time.perf_counter() - start


@contextmanager
def bench(images: int) -> Iterator[Bench]:
    """Open a panel that has the three models, with so many images that it has not seen."""
    with TemporaryDirectory() as work, slow_server(0.0, ANSWER) as server:
        panel, folder = Path(work, "panel"), Path(work, "images")
        fit(labelled_folder(Path(work, "labelled"), 20), panel, agents=models(server, SHARES))
        folder.mkdir()
        yield Bench(panel, write_jpegs(folder, images, seed=2))


def models(server: SlowServer, at_once: Sequence[int], cache: ReplyCache | None = None) -> list[VlmAgent]:
    """Return the three models, each with its number of requests at once."""
    usual = {"base_url": server.base_url, "second_look": False}
    settings = [
        VlmSettings.model_validate(usual | {"name": name, "model": name, "concurrency": most})
        for name, most in zip(NAMES, at_once, strict=True)
    ]
    return [VlmAgent(model_settings, cache) for model_settings in settings]


def figures(quick: bool) -> list[Figure]:
    """Return the figures for 1 s a request, which is usual of such models, and for 0.2 s."""
    with bench(32 if quick else 100) as material:
        turns, few = (1, 1) if quick else (3, 4)
        return [figure for latency in (1.0, 0.2) for figure in measured(material, latency, turns, few)]


def measured(bench: Bench, latency: float, turns: int, few: int) -> list[Figure]:
    """Return the figures for one latency; in sequence, the first `few` images are asked about."""
    n = len(bench.images)
    ideal = [latency * len(NAMES) * n / REQUESTS_AT_ONCE] * turns
    with slow_server(latency, ANSWER) as server:
        alone = bench.diagnose_each(models(server, SHARES), turns)
        server.counts()
        together = [bench.diagnose_all(models(server, SHARES)) for _ in range(turns)]
        busy = server.counts()
        unshared = [bench.diagnose_all(models(server, [REQUESTS_AT_ONCE] * len(NAMES))) for _ in range(turns)]
        sequence = [bench.ask_in_sequence(models(server, SHARES), few) * n / few] * turns
        server.counts()
        replies = ReplyCache(bench.panel.parent / f"replies-{latency}.sqlite")
        bench.diagnose_all(models(server, SHARES, replies))
        first = server.counts()
        rerun = bench.diagnose_all(models(server, SHARES, replies))
        again = server.counts()
    return [
        Figure(f"L = {latency:g} s: s, one image", tuple(alone), most=1.1 * latency + 0.02),
        Figure("    L / that: efficiency of the fan-out (ratio)", tuple(latency / took for took in alone)),
        Figure(f"s, {n} images, {REQUESTS_AT_ONCE} requests at once", tuple(together)),
        Figure("    / ideal (ratio)", ratios(together, ideal), most=1.15 if latency >= 1.0 else 1.25),
        Figure("    most requests at once that the server saw", (busy.most_at_once,), most=REQUESTS_AT_ONCE),
        Figure(f"s, {n} images, {REQUESTS_AT_ONCE} requests at once of each model", tuple(unshared)),
        Figure(f"s, {n} images in sequence", tuple(sequence)),
        Figure(f"    / {REQUESTS_AT_ONCE} at once (ratio)", ratios(sequence, together), least=20),
        Figure("requests of a first run", (first.requests,)),
        Figure("requests of a rerun", (again.requests,), most=0),
        Figure("s, the rerun", (rerun,)),
    ]
