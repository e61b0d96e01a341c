"""What an evaluation takes beside the diagnoses that it is made of, and whether many rows stay flat in memory.

    python -m consilience.evals.benchmarks.speed.evaluation_cost ROWS

evaluates so many generated vectors and prints what that took.

Vectors are decided in processes of their own, so their rate is held against `diagnose_vectors` in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from consilience.core.images import load_image
from consilience.evals.benchmarks.speed.measure import Figure, ratios, seconds
from consilience.evals.benchmarks.speed.memory_use import peak_of_this_process
from consilience.evals.benchmarks.speed.startup import labelled_folder
from consilience.evals.evaluation import evaluate
from consilience.evals.rows import Decided
from consilience.evals.run_log import Tally
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.batch_embedding import embed_many

MODULE = "consilience.evals.benchmarks.speed.evaluation_cost"  # __name__ is another one where this file is what runs

LABELS, DIMENSION, KNOWN = 4, 64, 640


def figures(quick: bool) -> list[Figure]:
    """Return rates of images and of rows, and memory in MB."""
    few, many = (10_000, 30_000) if quick else (20_000, 200_000)
    return [*of_images(300 if quick else 3_000, 2 if quick else 3), *of_rows(few, many)]


def of_images(images: int, turns: int) -> list[Figure]:
    """Return the rate of `evaluate`, from opening the panel to the last figure, beside that of `diagnose_many`."""
    with TemporaryDirectory() as folder:
        work, numbers = Path(folder), count()
        panel, photos = work / "panel", labelled_folder(work / "photos", images // 2)
        fit(labelled_folder(work / "known", 64), panel)
        paths, encoder = sorted(photos.rglob("*.jpg")), Panel.open(panel).encoder.open("auto")

        def diagnose_many() -> None:
            with Diagnoser.open(panel) as diagnoser:
                for _ in diagnoser.diagnose_many(paths):
                    pass

        def embed_alone() -> None:
            for _ in embed_many(paths, encoder, load=load_image):
                pass

        def evaluated() -> None:
            evaluate(photos, panel, work / f"out-{next(numbers)}")

        busy: dict[str, list[float]] = {"diagnose_many": [], "evaluate": [], "embed_many": []}

        def noted(name: str, run: Callable[[], None]) -> Callable[[], None]:
            def noting() -> None:
                start = time.process_time()
                run()
                busy[name].append(time.process_time() - start)

            return noting

        timed = {"diagnose_many": diagnose_many, "evaluate": evaluated, "embed_many": embed_alone}
        measured = seconds({name: noted(name, run) for name, run in timed.items()}, turns)
    rates = {name: tuple(len(paths) / value for value in values) for name, values in measured.items()}
    return [
        *(Figure(f"images a second, {name}, {images:,} images", values) for name, values in rates.items()),
        Figure("diagnose_many / embed_many (ratio)", ratios(rates["diagnose_many"], rates["embed_many"])),
        Figure("evaluate / diagnose_many (ratio)", ratios(rates["evaluate"], rates["diagnose_many"]), least=0.9),
        Figure("    of the processor's time (ratio)", ratios(busy["diagnose_many"][1:], busy["evaluate"][1:])),
    ]


def of_rows(few: int, many: int) -> list[Figure]:
    """Return the rate of vectors, and the memory for few and for many; each number of them in a process of its own."""
    small, large = measured_rows(few), measured_rows(many)
    return [
        Figure(f"rows a second, evaluate, {many:,} rows", (large["rows_per_second"],), least=2_000),
        Figure("rows a second of the processor's time, all processes, figures too", (large["rows_per_busy_second"],)),
        Figure("rows a second, diagnose_vectors in one process", (large["alone_per_second"],)),
        Figure("evaluate / diagnose_vectors (ratio)", (large["rows_per_second"] / large["alone_per_second"],)),
        Figure(f"MB while deciding, {few:,} rows", (small["mb_deciding"],)),
        Figure(f"MB while deciding, {many:,} rows", (large["mb_deciding"],)),
        Figure("MB between the two", (large["mb_deciding"] - small["mb_deciding"],), most=50),
        Figure(f"MB at the peak, measuring {many:,} rows", (large["mb"],)),
        Figure("s, figures and table of the rows", (large["seconds_measuring"],)),
    ]


def measured_rows(rows: int) -> dict[str, float]:
    """Return what it takes to evaluate so many generated vectors."""
    with TemporaryDirectory() as folder:
        known, test, panel = (Path(folder, name) for name in ("known.npz", "test.npz", "panel"))
        fit(_vectors(known, KNOWN, 0), panel)
        alone = _alone(_vectors(test, 10_000, 1), panel)
        command = [sys.executable, "-m", MODULE, str(_vectors(test, rows, 2)), str(panel), str(Path(folder, "out"))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own command
        measured: dict[str, float] = json.loads(done.stdout)
    return {**measured, "alone_per_second": alone}


def in_this_process(test: Path, panel: Path, out: Path) -> dict[str, float]:
    """Return the same, measured in a process that made nothing before."""
    deciding = {"mb": 0.0, "ended": 0.0}

    def watch(tally: Tally, batch: Sequence[Decided]) -> None:
        deciding.update(mb=peak_of_this_process(), ended=time.perf_counter())

    metrics = evaluate(test, panel, out, watch=watch).metrics
    used = os.times()
    busy = used.user + used.system + used.children_user + used.children_system
    return {
        "rows_per_second": metrics.images_per_second or 0.0,
        "rows_per_busy_second": metrics.images / busy,
        "mb_deciding": deciding["mb"],
        "mb": peak_of_this_process(),
        "seconds_measuring": time.perf_counter() - deciding["ended"],
    }


def _alone(test: Path, panel: Path) -> float:
    """Rows a second of `diagnose_vectors` in this process."""
    with np.load(test) as file, Diagnoser.open(panel) as diagnoser:
        vectors, names = file["embeddings"], file["names"].tolist()
        list(diagnoser.diagnose_vectors(vectors[:640], names[:640]))
        start = time.perf_counter()
        for _ in diagnoser.diagnose_vectors(vectors, names):
            pass
        return len(names) / (time.perf_counter() - start)


def _vectors(path: Path, rows: int, seed: int) -> Path:
    """Labelled unit vectors around one centre a label."""
    centres = np.random.default_rng(0).normal(size=(LABELS, DIMENSION))
    rng, labels = np.random.default_rng([1, seed]), np.arange(rows) % LABELS
    vectors = 0.4 * centres[labels] + rng.normal(size=(rows, DIMENSION))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    np.savez(path, embeddings=vectors, labels=np.array(list("abcd"))[labels], names=np.arange(rows).astype(str))
    return path


if __name__ == "__main__":
    first, *others = sys.argv[1:]
    print(json.dumps(in_this_process(Path(first), *map(Path, others)) if others else measured_rows(int(first))))
