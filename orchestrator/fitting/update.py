"""Add labelled images to a panel that is there, or remove them: `add`, `remove`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consilience.core.dataset import LabelledImage
from consilience.core.errors import DatasetError
from consilience.core.image_quality import widened
from consilience.core.progress import Progress, quiet
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.task import Task
from consilience.orchestrator.decision.settling import check_decision
from consilience.orchestrator.ensemble.cross_fitting import split_into_folds
from consilience.orchestrator.ensemble.out_of_fold import LabelledPredictions
from consilience.orchestrator.fitting.collect import answers_of
from consilience.orchestrator.fitting.fit import FitReport
from consilience.orchestrator.fitting.fit_ensemble import FittedEnsemble, fit_ensemble
from consilience.orchestrator.fitting.ingest import with_images
from consilience.orchestrator.panel.panel import Panel, labelled_features
from consilience.orchestrator.panel.unknown_examples import joined, parted, without_labelled
from consilience.orchestrator.panel.writer import index, prepare_novelty, writing
from consilience.orchestrator.runtime.blas_threads import one_blas_thread
from consilience.retrieval.memory.labelled_images import LabelledImages


def add(
    panel: str | Path,
    images: Sequence[LabelledImage],
    *,
    settings: Settings | None = None,
    progress: Progress = quiet,
    **arguments: Any,
) -> FitReport:
    """Add labelled images to a panel's memory and refresh its heads; calibration and trust stay as `fit` measured them.

    An image joins a group by the rule that the panel was fitted with: the pattern on its path, or what it is a copy of
    or nearly equal to.

    Raises:
        DatasetError: a label that the task lacks. PanelError and EncoderError as in `Diagnoser.open`.
        PanelBusyError: somebody else is writing it.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    with writing(path):
        old = Panel.open(path)
        check_decision(settings.decision, old.task.names, [0] * len(old.task.names))  # before the work, not after it
        known = [replace(image, label=_known_label(old.task, image.label)) for image in images]
        encoder = old.encoder.open(settings.device)
        new = with_images(old.labelled_images, known, encoder, settings, progress, old.grouping)
        written = old
        if new.report.added:
            grown = with_labelled_images(old, new.labelled_images, settings)
            written = replace(grown, bounds=widened(old.bounds, new.measures)).save(path, overwrite=True)
    index(written, settings, progress)
    return FitReport(written, new.report, new.failed, (), written.settles(settings.policy, settings.decision))


def remove(
    panel: str | Path, names: Collection[str], *, settings: Settings | None = None, **arguments: Any
) -> list[str]:
    """Take images out of a panel's memory, by identity or source, and refresh its heads.

    Returns:
        The names that the memory does not hold; if there are any, nothing was removed.

    Raises:
        DatasetError: a label would be left without images. PanelError, PanelBusyError as for `add`.
    """
    path, settings = Path(panel), settings_or(settings, arguments)
    with writing(path):
        old = Panel.open(path)
        images = joined(old.labelled_images, old.unknown)
        known = {*images.ids, *images.sources}
        by_name = {name: name if name in known else str(Path(name).absolute()) for name in names}
        if missing := [name for name, full in by_name.items() if full not in known]:
            return missing
        labelled_images, unknown = parted(images.without(by_name.values(), by_name.values()))
        check_each_label_is_left(old.task, labelled_images)
        shrunk = replace(old, unknown=unknown)
        if len(labelled_images) < len(old.labelled_images):
            shrunk = with_labelled_images(shrunk, labelled_images, settings)
        written = shrunk.save(path, overwrite=True)
    index(written, settings, quiet)
    return []


def check_each_label_is_left(task: Task, labelled_images: LabelledImages) -> None:
    """Check that every label of the task has an image.

    Raises:
        DatasetError: a label would have none.
    """
    for label in task.names:
        if not labelled_images.labels.count(label):
            raise DatasetError(f"'{label}' would be left without images; nothing was removed")


def with_labelled_images(old: Panel, labelled_images: LabelledImages, settings: Settings) -> Panel:
    """Return the panel with these images in its memory and its heads.

    What the agents said of images that are gone counts no more; what has a label is no example of the unknown any more.
    """
    data, before = labelled_features(labelled_images, old.task, old.encoder.eyes), old.labelled_features()
    added = data.take(_rows_not_in(labelled_images, old.labelled_images))
    removed = before.take(_rows_not_in(old.labelled_images, labelled_images))
    prepare_novelty(old.novelty, labelled_images, settings)
    with one_blas_thread():
        heads = tuple(head.updated(data, added, removed) for head in old.heads)
    gone = [identity for identity in old.labelled_images.ids if identity not in labelled_images.rows]
    return replace(
        old,
        labelled_images=labelled_images,
        heads=heads,
        predictions=old.predictions.without(gone),
        unknown=without_labelled(old.unknown, labelled_images),
    )


def judged_anew(panel: Panel, predictions: LabelledPredictions, settings: Settings) -> FittedEnsemble:
    """Return what the panel's members are worth by predictions for images of its memory: no agent is asked again."""
    looks = [answers_of(member, raw) for member, raw in zip(panel.members, predictions.raw, strict=True)]
    rows = np.array([panel.labelled_images.rows[identity] for identity in predictions.ids], dtype=np.intp)
    data = panel.labelled_features().take(rows)
    folds = split_into_folds(predictions.labels, settings.seed, data.groups)
    return fit_ensemble(panel.heads, looks, panel.task, data, folds)


def _rows_not_in(labelled_images: LabelledImages, others: LabelledImages) -> np.ndarray:
    return np.array(
        [row for row, identity in enumerate(labelled_images.ids) if identity not in others.rows], dtype=np.intp
    )


def _known_label(task: Task, label: str) -> str:
    if (name := task.find(label)) is None:
        raise DatasetError(f"the panel's task has no label '{label}'; it has {', '.join(task.names)}")
    return name
