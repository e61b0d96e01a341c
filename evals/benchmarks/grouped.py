"""Whether what a panel claims is what happens on images of things that it has never seen.

    python -m consilience.evals.benchmarks.grouped FOLDER --group '{group}-*.jpg'   photos of things, by their names
    python -m consilience.evals.benchmarks.grouped FOLDER --made exposures          each photo and copies of it
    python -m consilience.evals.benchmarks.grouped FOLDER                           each image is a thing of its own

Each draw fits a panel on a random half of each label's groups, three times: with their groups given, with groups that
are found, and image by image. What the panel claims stands beside what happens on the other half, in which each group
weighs one. Images are embedded once. Instead of a folder, an .npz of vectors with `groups` may be given; in it groups
are found by the vectors alone.

Draws share images: an interval of a mean over draws tells how far the draws decide, not how far the folder does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError, DatasetError
from consilience.core.settings.settings import Settings, load_settings
from consilience.evals.benchmarks.grouped_images import grouped_images, with_found_groups
from consilience.evals.benchmarks.protocols import fitted_on
from consilience.evals.benchmarks.retaken import COPIES
from consilience.evals.scores import accuracy_interval
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.grouping.grouping import How
from consilience.orchestrator.shift.batch_sample import vector_shift
from consilience.orchestrator.shift.two_sample import NOT_TESTED
from consilience.retrieval.memory.labelled_images import LabelledImages

MODES: tuple[How, ...] = ("given", "found", "none")
"""Where a panel has its groups from."""

LEAST_GROUPS = 4
"""Groups of a label: two to fit on and two to judge by."""


@dataclass(frozen=True)
class Rates:
    """Shares of images, in [0, 1], each group weighing one.

    Attributes:
        accuracy: named rightly. settled: settled. coverage: whose prediction set holds the label.
        settled_accuracy: of the settled, named rightly; None where none is settled.
    """

    accuracy: float
    settled: float
    settled_accuracy: float | None
    coverage: float


@dataclass(frozen=True)
class Draw:
    """One panel: what it claimed, and what happened.

    Attributes:
        images, groups: that it was fitted on; groups as it knows them.
        interval: in which it claims the accuracy to lie, 95 %.
        claimed, real: on new groups.
        alarm: whether they were called different from the labelled ones, so that the claim is withdrawn; `real` is what
            happens if that is passed over.
    """

    images: int
    groups: int
    claimed: Rates
    interval: tuple[float, float]
    real: Rates
    alarm: bool

    @property
    def holds(self) -> bool:
        """Return whether the real accuracy lies in the interval."""
        return self.interval[0] <= self.real.accuracy <= self.interval[1]


def rates_of(diagnoses: Sequence[Diagnosis], truths: Sequence[str], groups: Sequence[str]) -> Rates:
    """Return what happened on n images, of these labels and groups."""
    _, group = np.unique(list(groups), return_inverse=True)
    weights = 1.0 / np.bincount(group)[group]

    def share(chosen: Sequence[bool]) -> float:
        return float(np.average(np.asarray(chosen, dtype=np.float64), weights=weights))

    pairs = list(zip(diagnoses, truths, strict=True))
    settled = share([diagnosis.settled for diagnosis, _ in pairs])
    settled_right = share([diagnosis.settled and diagnosis.label == truth for diagnosis, truth in pairs])
    return Rates(
        share([diagnosis.label == truth for diagnosis, truth in pairs]),
        settled,
        settled_right / settled if settled else None,
        share([truth in diagnosis.prediction_set for diagnosis, truth in pairs]),
    )


def halves_of_groups(labels: Sequence[str], groups: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Return which of n images are new, bool (n,): those of a random half of each label's groups.

    A group belongs to the label that most of its images have.

    Raises:
        DatasetError: a label has fewer than LEAST_GROUPS groups.
    """
    names, group = np.unique(list(groups), return_inverse=True)
    known, label = np.unique(list(labels), return_inverse=True)
    of_group = np.zeros((len(names), len(known)), np.intp)
    np.add.at(of_group, (group, label), 1)
    main_label, is_new = of_group.argmax(axis=1), np.zeros(len(names), dtype=bool)
    for number, name in enumerate(known):
        own = np.flatnonzero(main_label == number)
        if len(own) < LEAST_GROUPS:
            raise DatasetError(f"'{name}' has {len(own)} groups: {LEAST_GROUPS} are needed to fit and to judge")
        is_new[rng.permutation(own)[: len(own) // 2]] = True
    return np.asarray(is_new[group])


def drawn(images: LabelledImages, encoder: str, is_new: np.ndarray, mode: How, settings: Settings) -> Draw:
    """Fit on some rows and judge by the new ones, bool (n,).

    Args:
        encoder: name of the one that made the vectors.
        mode: where the panel has its groups from.
    """
    known = images.without(ids=[images.ids[row] for row in np.flatnonzero(is_new)])
    known = with_found_groups(known, encoder) if mode == "found" else known
    new = np.flatnonzero(is_new)
    with fitted_on(known, range(len(known)), settings, by_group=mode != "none") as diagnoser:
        vectors, names = images.vectors[new], [images.ids[row] for row in new]
        shift = vector_shift(lambda: diagnoser.shift_reference, vectors, vector_identity)
        results = list(diagnoser.diagnose_vectors(vectors, names, shift=NOT_TESTED))
        claim = diagnoser.panel.claim(settings.policy)
    if claim is None:
        raise DatasetError("no labelled image could be judged: give more images, or more groups, of each label")
    judged = [(row, result) for row, result in zip(new.tolist(), results, strict=True) if isinstance(result, Diagnosis)]
    real = rates_of(
        [result for _, result in judged],
        [images.labels[row] for row, _ in judged],
        [images.groups[row] for row, _ in judged],
    )
    claimed = Rates(claim.accuracy, claim.settled, claim.settled_accuracy, claim.coverage)
    return Draw(claim.images, claim.groups, claimed, claim.interval, real, shift.alarm)


def draws_of(images: LabelledImages, encoder: str, mode: How, draws: int, settings: Settings) -> Iterator[Draw]:
    """Yield the draws of one mode; the same halves whatever the mode."""
    for number in range(draws):
        rng = np.random.default_rng([settings.seed, number])
        is_new = halves_of_groups(images.labels, images.groups, rng)
        yield drawn(images, encoder, is_new, mode, settings)


def mean_of(values: Sequence[float | None]) -> str:
    """Return the mean of the values that there are, and its 95 % interval (Student's t), as text."""
    from scipy.stats import t

    present = np.array([value for value in values if value is not None])
    if not len(present):
        return "–"
    if len(present) == 1:
        return f"{present[0]:.3f}"
    half = float(t.ppf(0.975, len(present) - 1) * present.std(ddof=1) / np.sqrt(len(present)))
    return f"{present.mean():.3f} ({present.mean() - half:.3f} to {present.mean() + half:.3f})"


def table_of(by_mode: Mapping[How, Sequence[Draw]]) -> str:
    """Return the figures of each mode, one a column."""
    rows: dict[str, list[str]] = {"": [f"groups {mode}" for mode in by_mode]}
    for draws in by_mode.values():
        claimed, real = [draw.claimed for draw in draws], [draw.real for draw in draws]
        held = sum(draw.holds for draw in draws)
        low, high = accuracy_interval(held, len(draws))
        for what, figure in (
            ("images, groups fitted on", f"{_mean(d.images for d in draws):.0f}, {_mean(d.groups for d in draws):.0f}"),
            ("accuracy, claimed", mean_of([rates.accuracy for rates in claimed])),
            ("accuracy, real", mean_of([rates.accuracy for rates in real])),
            ("claimed less real", mean_of([draw.claimed.accuracy - draw.real.accuracy for draw in draws])),
            ("without its sign", mean_of([abs(draw.claimed.accuracy - draw.real.accuracy) for draw in draws])),
            ("interval, width", mean_of([draw.interval[1] - draw.interval[0] for draw in draws])),
            ("interval holds the real", f"{held} of {len(draws)} ({low:.3f} to {high:.3f})"),
            ("called different", f"{sum(draw.alarm for draw in draws)} of {len(draws)}"),
            ("coverage, claimed", mean_of([rates.coverage for rates in claimed])),
            ("coverage, real", mean_of([rates.coverage for rates in real])),
            ("settled, claimed", mean_of([rates.settled for rates in claimed])),
            ("settled, real", mean_of([rates.settled for rates in real])),
            ("right of settled, claimed", mean_of([rates.settled_accuracy for rates in claimed])),
            ("right of settled, real", mean_of([rates.settled_accuracy for rates in real])),
            ("real less claimed", mean_of([_beyond(draw) for draw in draws])),
        ):
            rows.setdefault(what, []).append(figure)
    return "\n".join(f"{what:26}" + "".join(f"{figure:>26}" for figure in figures) for what, figures in rows.items())


def _beyond(draw: Draw) -> float | None:
    """By how much more of the settled were right than claimed; None where none was settled."""
    claimed, real = draw.claimed.settled_accuracy, draw.real.settled_accuracy
    return None if claimed is None or real is None else real - claimed


def _mean(values: Iterator[int]) -> float:
    return float(np.mean(list(values)))


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--group", "rule", help="How the path tells the group, as for `fit`.")
@click.option("--made", type=click.Choice(list(COPIES)), help="Stand copies of each photo beside it, as its group.")
@click.option("--copies", type=click.IntRange(min=2), default=5, show_default=True, help="Of --made, with the photo.")
@click.option("--photos", type=click.IntRange(min=1), help="Take so many random images a label only.")
@click.option("--draws", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="Only this; repeatable.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(
    source: Path,
    rule: str | None,
    made: str | None,
    copies: int,
    photos: int | None,
    draws: int,
    modes: tuple[How, ...],
    seed: int,
    file: Path | None,
) -> None:
    """Measure claims on SOURCE: a labelled folder, or an .npz of vectors that may hold `groups`."""
    try:
        settings = load_settings(seed=seed)
        images, encoder = grouped_images(source, settings, rule=rule, made=made, copies=copies, photos=photos)
        by_mode = {mode: list(draws_of(images, encoder, mode, draws, settings)) for mode in modes or MODES}
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    what = f"{source.stem}{f', each photo with {copies - 1} copies ({COPIES[made].what})' if made else ''}"
    n_groups = len(set(images.groups))
    click.echo(f"{what}: {len(images)} images of {n_groups} groups, {draws} draws of half of them, seed {seed}\n")
    click.echo(table_of(by_mode))
    if file is not None:
        figures = {mode: [asdict(draw) for draw in done] for mode, done in by_mode.items()}
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
