"""How long it takes to find groups among many vectors, and how much memory: things seen once or many times.

    python -m consilience.evals.benchmarks.speed.finding_groups 100000

prints seconds and peak in MB for so many vectors. Each count runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from consilience.evals.benchmarks.speed.measure import Figure
from consilience.evals.benchmarks.speed.memory_use import peak_of_this_process
from consilience.orchestrator.grouping.average_linkage import average_linkage
from consilience.orchestrator.grouping.found_groups import LITE0_LIMIT, alike_distance
from consilience.retrieval.encoders.encoder import Vectors

MODULE = "consilience.evals.benchmarks.speed.finding_groups"  # __name__ is another one where this file is what runs

DIMENSION, LABELS, VIEWS = 1280, 10, 12


def things(images: int, seed: int = 0) -> tuple[Vectors, list[str]]:
    """Return unit vectors of things, float32 (n, DIMENSION), and their labels: of each thing 1 to VIEWS images.

    Those of one thing are 0.03 to 0.15 apart, as photos of one thing are for EfficientNet-Lite0, those of two things
    about 0.3.
    """
    rng = np.random.default_rng(seed)
    thing = np.repeat(np.arange(images), rng.integers(1, VIEWS + 1, images))[:images]
    centres = rng.standard_normal((thing[-1] + 1, DIMENSION), dtype=np.float32)
    centres *= np.float32(0.65)
    centres += rng.standard_normal((1, DIMENSION), dtype=np.float32)
    spread = rng.uniform(0.2, 0.5, len(centres)).astype(np.float32)
    vectors = rng.standard_normal((images, DIMENSION), dtype=np.float32)
    vectors *= spread[thing, None]
    vectors += centres[thing]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, [f"label {number % LABELS}" for number in thing.tolist()]


def figures(quick: bool) -> list[Figure]:
    """Return seconds and peak in MB for 20,000 vectors, or 5,000."""
    images = 5_000 if quick else 20_000
    values = [_in_a_process(images) for _ in range(1 if quick else 3)]
    seconds, peaks = zip(*values, strict=True)
    return [
        Figure(f"s, groups of {images:,} vectors", tuple(seconds), most=20),
        Figure(f"MB, peak with {images:,} vectors", tuple(peaks), most=1000),
    ]


def _in_a_process(images: int) -> tuple[float, float]:
    command = [sys.executable, "-m", MODULE, str(images)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own command
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def measured(images: int) -> tuple[float, float]:
    """Return the seconds that finding groups takes, and the peak of this process in MB, vectors included."""
    vectors, labels = things(images)
    start = time.perf_counter()
    alike_distance(vectors, average_linkage(vectors, LITE0_LIMIT), labels, LITE0_LIMIT)
    return time.perf_counter() - start, peak_of_this_process()


if __name__ == "__main__":
    print(*measured(int(sys.argv[1])))
