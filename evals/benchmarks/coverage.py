"""How often prediction sets hold the true label, and how large they are, on images that the panel was not fitted on.

    python -m consilience.evals.benchmarks.coverage DATA        a labelled folder, or an .npz of vectors

Each split fits a panel on a random two thirds of the images, stratified by label, and diagnoses the others. The most
probable label stays in every set, so that a panel that is right more often than the target covers more; the target is
compared with the coverage before that. Even for exact sets it does not lie within the 95 % interval of 95 % of the
splits: what their threshold was learned from is a sample as well. In how many it would is drawn by chance, for labels
as often as here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError, DatasetError
from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings, load_settings
from consilience.evals.benchmarks.protocols import TEST, fitted_on
from consilience.evals.figures import PredictionSets
from consilience.evals.measurement import sets_of
from consilience.evals.scores import accuracy_interval
from consilience.orchestrator.decision.conformal import LabelSets
from consilience.orchestrator.fitting.ingest import ingest, is_vectors
from consilience.retrieval.memory.labelled_images import LabelledImages

SIMULATED_DRAWS = 2000
"""Splits that are drawn for `of_exact_sets`."""


def all_records(source: Path, settings: Settings) -> LabelledImages:
    """Return all images of a source with their vectors; those of its test/, too, if it has one."""
    ingested = ingest(source, None, settings, quiet)
    if is_vectors(source) or not (source / TEST).is_dir():
        return ingested.labelled_images
    test = ingest(source / TEST, ingested.task, settings, quiet).labelled_images
    return ingested.labelled_images.with_added(test.ids, test.labels, test.sources, test.vectors)[0]


@dataclass(frozen=True)
class SplitCoverage:
    """How often the sets of one split hold the true label.

    Attributes:
        sets: of the sets as users get them, which always hold the most probable label.
        strict: of the same sets, where the most probable label may be excluded, too.
    """

    sets: PredictionSets
    strict: PredictionSets


def covered(labelled_images: LabelledImages, fitted: np.ndarray, held: np.ndarray, settings: Settings) -> SplitCoverage:
    """Fit on some rows, int (n,), judge by others, int (m,)."""
    with fitted_on(labelled_images, fitted.tolist(), settings) as diagnoser:
        results = list(
            diagnoser.diagnose_vectors(labelled_images.vectors[held], [labelled_images.ids[row] for row in held])
        )
        names, sets = diagnoser.panel.task.names, diagnoser.panel.calibration_set.sets(settings.policy.coverage)
    pairs = [
        (result, labelled_images.labels[row])
        for result, row in zip(results, held.tolist(), strict=True)
        if isinstance(result, Diagnosis)
    ]
    if sets is None or not pairs:
        raise DatasetError("no image could be diagnosed")
    left = sets.of(np.array([[*diagnosis.posterior.values()] for diagnosis, _ in pairs]))
    held_strictly = left[np.arange(len(pairs)), [names.index(truth) for _, truth in pairs]]
    holds = np.array([truth in diagnosis.prediction_set for diagnosis, truth in pairs])
    sizes = np.array([len(diagnosis.prediction_set) for diagnosis, _ in pairs])
    return SplitCoverage(sets_of(holds, sizes), sets_of(held_strictly, left.sum(axis=1)))


def of_exact_sets(fitted: np.ndarray, held: np.ndarray, target: float, seed: int) -> float:
    """Return in which share of splits the target lies within the 95 % interval, for exact sets drawn by chance.

    Exact: the posterior of the truth is drawn alike for both parts.

    Args:
        fitted, held: labels, int (n,) and (m,), of images that the sets are calibrated on and judged by.
    """
    rng, n_labels = np.random.default_rng(seed), int(max(fitted.max(), held.max())) + 1
    inside = []
    for _ in range(SIMULATED_DRAWS):
        least = LabelSets.calibrated(rng.random(len(fitted)), fitted, n_labels, target).least
        low, high = accuracy_interval(int((rng.random(len(held)) >= least[held]).sum()), len(held))
        inside.append(low <= target <= high)
    return float(np.mean(inside))


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--splits", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(source: Path, splits: int, seed: int, file: Path | None) -> None:
    """Measure the coverage of prediction sets on SOURCE."""
    from sklearn.model_selection import StratifiedShuffleSplit

    try:
        settings = load_settings(seed=seed)
        labelled_images = all_records(source, settings)
        if min(map(labelled_images.labels.count, set(labelled_images.labels))) < 3:
            raise DatasetError(f"a label of '{source}' has fewer than 3 images: two to fit on, one to judge by")
        splitter = StratifiedShuffleSplit(splits, test_size=1 / 3, random_state=seed)
        parts = list(splitter.split(labelled_images.vectors, labelled_images.labels))
        per_split = [covered(labelled_images, fitted, held, settings) for fitted, held in parts]
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    target, n = settings.policy.coverage, per_split[0].sets.n
    labels = np.unique(labelled_images.labels, return_inverse=True)[1]
    exact = splits * of_exact_sets(labels[parts[0][0]], labels[parts[0][1]], target, seed)
    lines = []
    for what, kind in (
        ("sets as users get them", "sets"),
        ("without the most probable label where it is excluded", "strict"),
    ):
        splits_of = [getattr(split, kind) for split in per_split]
        inside = sum(sets.low <= target <= sets.high for sets in splits_of)
        coverage, size = (np.mean([getattr(sets, name) for sets in splits_of]) for name in ("coverage", "mean_size"))
        lines.append(
            f"{what}: coverage {coverage:.4f} (target {target}, which lies within the 95 % interval of {inside} of "
            f"{splits} splits), {size:.3f} labels in a set on average"
        )
    click.echo(
        f"{source.name}: {splits} splits, {len(labelled_images) - n} images to fit on, {n} to judge by, seed {seed}\n"
        + "\n".join(lines)
        + f"\nexact sets, drawn by chance: the target lies within the interval of {exact:.1f} of {splits} splits"
    )
    if file is not None:
        file.write_text(json.dumps([asdict(split) for split in per_split], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
