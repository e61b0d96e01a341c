"""How well an encoder separates the labels of a folder: what `consilience encoders try` compares."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from consilience.agents import Probe
from consilience.agents.heads.folds import UNJUDGED
from consilience.agents.heads.model_selection import nearest_labels
from consilience.core.errors import DatasetError
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import Settings
from consilience.evals.scores import accuracy_interval
from consilience.orchestrator.ensemble.cross_fitting import out_of_fold, split_into_folds
from consilience.orchestrator.fitting.ingest import ingest, is_vectors
from consilience.orchestrator.panel.panel import labelled_features
from consilience.orchestrator.runtime.blas_threads import one_blas_thread


@dataclass(frozen=True)
class Separation:
    """Figures of one encoder on one folder.

    Attributes:
        encoder: its name. images: how many were read. failed: how many could not be.
        accuracy: of a linear probe (Radford et al. 2021) in cross-validation, [0, 1], with its 95 % interval `low` to
            `high` (Wilson 1927). folds: of it. The only image of a label is learned from and not judged.
        nearest: share of the images whose nearest other image has their label, [0, 1].
        dimension: length of a vector. weight_bytes: size of the encoder's weights.
        images_per_second: from files to vectors, on this machine.
    """

    encoder: str
    images: int
    failed: int
    folds: int
    accuracy: float
    low: float
    high: float
    nearest: float
    dimension: int
    weight_bytes: int
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


def separation(encoder: str, folder: Path, settings: Settings, progress: Progress = quiet) -> Separation:
    """Return how well an encoder separates a folder's labels; nothing is chosen on the images that are judged.

    Raises:
        DatasetError: the folder cannot be used. EncoderError: as of `open_encoder`.
    """
    if is_vectors(folder):
        raise DatasetError(f"'{folder}' holds vectors that are made already; give a folder of labelled images")
    times = [time.perf_counter()]

    def timed(_: str, done: int, total: int) -> None:
        times.append(time.perf_counter())
        progress(encoder, done, total)

    ingested = ingest(folder, None, settings.model_copy(update={"encoders": (encoder,)}), timed)
    data = labelled_features(ingested.labelled_images, ingested.task)
    folds = split_into_folds(data.labels, settings.seed, data.groups)
    is_judged = folds != UNJUDGED
    if not is_judged.any():
        raise DatasetError(f"'{folder}' has one image of each label, and none is left to judge by: add images")
    with one_blas_thread():
        named = out_of_fold(Probe.name, ingested.task, data, folds)[is_judged].argmax(axis=1)
        own, near, _ = nearest_labels(data, 1)
    right = int((named == data.labels[is_judged]).sum())
    low, high = accuracy_interval(right, len(named))
    return Separation(
        encoder=encoder,
        images=len(folds),
        failed=len(ingested.failed),
        folds=int(folds.max()) + 1,
        accuracy=right / len(named),
        low=low,
        high=high,
        nearest=float((near[:, 0] == own).mean()),
        dimension=ingested.encoder.dimension,
        weight_bytes=ingested.encoder.weight_bytes,
        images_per_second=_rate(times, settings.batch_size, len(folds)),
    )


def _rate(times: list[float], batch: int, images: int) -> float:
    """Images a second, from the first batch on if there are several: opening the encoder is no part of it.

    >>> _rate([0.0, 10.0, 11.0, 12.0], 64, 192)
    64.0
    """
    if len(times) < 3:
        return images / (times[-1] - times[0])
    return (images - batch) / (times[-1] - times[1])
