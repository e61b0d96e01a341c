"""How accuracy is measured: on held-out images, with few images to fit on, in cross-validation.

Each protocol fits with `fit` and asks a `Diagnoser`, as users do, in a folder that is gone afterwards. What is judged
was never fitted on: the parts are disjoint by the identity of the images, and every choice follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from consilience.core.dataset import read_labelled_folder
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import DatasetError
from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.fitting.ingest import ingest, is_vectors
from consilience.orchestrator.grouping.given_groups import NONE
from consilience.retrieval.memory.labelled_images import LabelledImages

TEST = "test"
"""The part of a labelled folder that is held out."""


@dataclass(frozen=True)
class Judged:
    """Diagnoses of n images whose labels are known.

    Attributes:
        truths: n, their labels.
        failed: images without a diagnosis; they count in no figure.
        known: how many images were passed over because the panel was fitted on them.
    """

    diagnoses: tuple[Diagnosis, ...]
    truths: tuple[str, ...]
    failed: tuple[FailedImage, ...] = ()
    known: int = 0


def held_out(folder: Path, settings: Settings) -> Judged:
    """Fit on `train/` and `val/` of a folder, diagnose the images of `test/`, from the files to the verdict.

    Raises:
        DatasetError: the folder cannot be used.
    """
    with _fitted(folder, settings) as diagnoser:
        test = read_labelled_folder(folder / TEST, diagnoser.panel.task)
        results = diagnoser.diagnose_many(image.path for image in test.images)
        return _judged(results, [image.label for image in test.images], diagnoser.panel.labelled_images.rows)


def few_shots(
    source: Path, shots: int, draws: int, settings: Settings, *, with_unlabelled: bool = False
) -> Iterator[Judged]:
    """Fit on `shots` images a label, drawn anew each time; each image is embedded once.

    Of a folder they are drawn from `train/` and `val/`, and `test/` is diagnosed; of an .npz of vectors the rest is.

    Args:
        with_unlabelled: the images that were not drawn are given without their labels, too; of an .npz a random half of
            them, and only the other half is diagnosed. So unlabelled images are never judged.

    Raises:
        DatasetError: it cannot be used, or a label has fewer images, or none is left to diagnose.
    """
    labelled = ingest(source, None, settings, quiet)
    labelled_images, test = labelled.labelled_images, None
    if not is_vectors(source):
        test = ingest(source / TEST, labelled.task, settings, quiet).labelled_images.without(ids=labelled_images.ids)
    labels = np.array(labelled_images.labels)
    for name in labelled.task.names:
        if (available := int((labels == name).sum())) < shots + (test is None):
            raise DatasetError(
                f"'{name}' has {available} images in '{source}', too few to fit on {shots} and judge others"
            )
    for draw in range(draws):
        rng = np.random.default_rng([settings.seed, draw])
        chosen = [rng.choice(np.flatnonzero(labels == name), shots, replace=False) for name in labelled.task.names]
        known = np.sort(np.concatenate(chosen))
        rest = np.setdiff1d(np.arange(len(labelled_images)), known)
        unlabelled = None
        if with_unlabelled:
            unlabelled = rest if test is not None else rng.choice(rest, len(rest) // 2, replace=False)
        if test is None:
            judged = rest if unlabelled is None else np.setdiff1d(rest, unlabelled)
            yield judged_vectors(labelled_images, known, labelled_images, judged, settings, unlabelled)
        else:
            yield judged_vectors(labelled_images, known, test, range(len(test)), settings, unlabelled)


def cross_validation(vectors: Path, folds: int, repeats: int, settings: Settings) -> Iterator[Judged]:
    """Fit on all folds but one of an .npz of vectors, diagnose that one; the results of all folds together.

    Raises:
        DatasetError: the file cannot be used, or a label has fewer vectors than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    labelled_images = ingest(vectors, None, settings, quiet).labelled_images
    fewest = min(map(labelled_images.labels.count, labelled_images.labels))
    if fewest < folds:
        raise DatasetError(f"a label has {fewest} vectors in '{vectors}', too few for {folds} folds")
    for repeat in range(repeats):
        splitter = StratifiedKFold(folds, shuffle=True, random_state=settings.seed + repeat)
        parts = [
            judged_vectors(labelled_images, known, labelled_images, held, settings)
            for known, held in splitter.split(labelled_images.vectors, labelled_images.labels)
        ]
        yield Judged(
            tuple(diagnosis for part in parts for diagnosis in part.diagnoses),
            tuple(truth for part in parts for truth in part.truths),
            tuple(failure for part in parts for failure in part.failed),
        )


def judged_vectors(
    labelled: LabelledImages,
    known: Iterable[int],
    test: LabelledImages,
    held: Iterable[int],
    settings: Settings,
    unlabelled: np.ndarray | None = None,
) -> Judged:
    """Fit on some vectors, and on others without their labels, if there are; diagnose others."""
    held = list(held)
    with fitted_on(labelled, known, settings, unlabelled) as diagnoser:
        results = diagnoser.diagnose_vectors(test.vectors[held], [test.ids[row] for row in held])
        return _judged(results, [test.labels[row] for row in held], {})


@contextmanager
def fitted_on(
    labelled: LabelledImages,
    rows: Iterable[int],
    settings: Settings,
    unlabelled: np.ndarray | None = None,
    *,
    by_group: bool | None = None,
) -> Iterator[Diagnoser]:
    """Open a panel fitted on some vectors, and on others, int (m,), without their labels; it is gone afterwards.

    Args:
        by_group: whether it is told the groups of the vectors, or takes each for a group of its own; None: it looks for
            groups, as users' panels do.
    """
    with TemporaryDirectory() as folder:
        file, beside = Path(folder, "labelled.npz"), Path(folder, "unlabelled.npz")
        _save(file, labelled, list(rows), with_groups=bool(by_group))
        if unlabelled is not None:
            _save(beside, labelled, unlabelled.tolist())
        group = NONE if by_group is False else None
        with _fitted(file, settings, None if unlabelled is None else beside, group) as diagnoser:
            yield diagnoser


def _save(file: Path, labelled_images: LabelledImages, rows: Sequence[int], with_groups: bool = False) -> None:
    labels, names, groups = (
        [texts[row] for row in rows]
        for texts in (labelled_images.labels, labelled_images.sources, labelled_images.groups)
    )
    arrays = {"embeddings": labelled_images.vectors[rows], "labels": np.array(labels), "names": np.array(names)}
    np.savez(file, allow_pickle=False, **arrays, **({"groups": np.array(groups)} if with_groups else {}))


@contextmanager
def _fitted(
    source: Path, settings: Settings, unlabelled: Path | None = None, group: str | None = None
) -> Iterator[Diagnoser]:
    with TemporaryDirectory() as folder:
        fit(source, Path(folder, "panel"), settings=settings, unlabelled=unlabelled, group=group)
        with Diagnoser.open(Path(folder, "panel"), settings=settings) as diagnoser:
            yield diagnoser


def _judged(results: Iterable[Diagnosis | FailedImage], labels: Sequence[str], known: Mapping[str, int]) -> Judged:
    pairs = list(zip(results, labels, strict=True))
    answered = [(result, label) for result, label in pairs if isinstance(result, Diagnosis)]
    fresh = [(result, label) for result, label in answered if result.identity not in known]
    return Judged(
        tuple(result for result, _ in fresh),
        tuple(label for _, label in fresh),
        tuple(result for result, _ in pairs if isinstance(result, FailedImage)),
        len(answered) - len(fresh),
    )
