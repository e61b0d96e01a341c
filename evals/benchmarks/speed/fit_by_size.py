"""How long `fit` takes by the number of vectors and labels, what memory it takes, and how right the panel is.

    python -m consilience.evals.benchmarks.speed.fit_by_size 20000 10

prints, for so many vectors and labels, wall and processor time in seconds, the peak in MB, and the accuracy and log
loss of the panel on vectors that it has not seen. On a busy machine the processor time says more than the wall time. No
image is read, no two vectors show one thing, and each size runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.evals.benchmarks.speed.measure import Figure
from consilience.evals.benchmarks.speed.memory_use import peak_of_this_process
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.encoder import Vectors

MODULE = "consilience.evals.benchmarks.speed.fit_by_size"  # __name__ is another one where this file is what runs

DIMENSION = 512

SPREAD = 0.7
"""How fast the variances of vectors fall off along their axes: the k-th is k^-SPREAD, about as a CLIP tower's."""

NEW = 1_000
"""Vectors that the panel is judged by."""

SIZES = (((20_000, 10), 45.0), ((20_000, 100), 120.0))
"""Vectors and labels that are measured, and how many seconds they may take on two cores."""


def drawn(images: int, labels: int, seed: int) -> tuple[Vectors, np.ndarray]:
    """Return unit vectors float32 (n, DIMENSION) and their labels, int (n,), each as often as the others.

    Each label has a centre, and vectors vary around it alike, along some axes far more than along others.
    """
    world, rng = np.random.default_rng(12345), np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(world.standard_normal((DIMENSION, DIMENSION)))
    variances = np.arange(1, DIMENSION + 1) ** -SPREAD
    axes = (rotation * np.sqrt(variances / variances.mean())).astype(np.float32).T
    apart = (1.1 if labels < 50 else 1.5) * 3 / np.sqrt(DIMENSION)
    centres = apart * world.standard_normal((labels, DIMENSION), dtype=np.float32) @ axes
    centres += 60 / np.sqrt(DIMENSION) * world.standard_normal((1, DIMENSION), dtype=np.float32)
    own = rng.permutation(images) % labels
    vectors = rng.standard_normal((images, DIMENSION), dtype=np.float32) @ axes
    vectors += centres[own]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, own


def figures(quick: bool) -> list[Figure]:
    """Return seconds, processor seconds, peaks in MB and accuracies for 20,000 vectors, or 2,000."""
    sizes = [((2_000, 10), None)] if quick else [*SIZES]
    lines = []
    for (images, labels), most in sizes:
        what = f"{images:,} vectors, {labels} labels"
        wall, processor, peak, accuracy, log_loss = _in_a_process(images, labels)
        lines += [
            Figure(f"s, {what}", (wall,), most=most),
            Figure("    s of processor time", (processor,)),
            Figure("    MB, peak", (peak,)),
            Figure("    accuracy of new vectors", (accuracy,)),
            Figure("    log loss of new vectors", (log_loss,)),
        ]
    return lines


def _in_a_process(images: int, labels: int) -> list[float]:
    command = [sys.executable, "-m", MODULE, str(images), str(labels)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own command
    return [float(number) for number in done.stdout.split()]


def measured(images: int, labels: int) -> tuple[float, float, float, float, float]:
    """Return seconds, processor seconds, the peak of this process in MB, accuracy and log loss of a fit."""
    vectors, own = drawn(images, labels, seed=1)
    with TemporaryDirectory() as folder:
        file = Path(folder, "vectors.npz")
        texts = np.array([f"label {label:04d}" for label in own.tolist()])
        np.savez(file, embeddings=vectors, labels=texts, names=np.arange(images).astype(np.str_))
        start, processor = time.perf_counter(), time.process_time()
        panel = fit(file, Path(folder, "panel")).panel
        took = time.perf_counter() - start, time.process_time() - processor, peak_of_this_process()
        return (*took, *_told_apart(panel, labels))


def _told_apart(panel: Panel, labels: int) -> tuple[float, float]:
    """Return accuracy and log loss on vectors that the panel has not seen."""
    vectors, own = drawn(NEW, labels, seed=2)
    with Diagnoser.open(panel.path) as diagnoser:
        made = diagnoser.diagnose_vectors(vectors, [str(row) for row in range(NEW)])
        posterior = np.array(
            [[*diagnosis.posterior.values()] for diagnosis in made if isinstance(diagnosis, Diagnosis)]
        )
    of_truth = posterior[np.arange(NEW), own]
    return float((posterior.argmax(axis=1) == own).mean()), float(-np.log(of_truth).mean())


if __name__ == "__main__":
    print(*(f"{number:.4g}" for number in measured(int(sys.argv[1]), int(sys.argv[2]))))
