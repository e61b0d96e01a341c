"""How soon images from elsewhere are noticed, and how often images from the same source raise a false alarm.

    python -m consilience.evals.benchmarks.shift DATA...  [--group REGEX]

Each DATA is a labelled folder, or one with train/ (and val/) and test/. Folders beside test/ whose names begin with
test- hold images of the same labels from elsewhere.

- From elsewhere: a panel's reference on train/ against BATCH images of each of these, of every other DATA, and of test/
  taken again by another camera and in a darker room (`retaken`); as one batch, as a stream of a new source, and as a
  stream that changes after LATE usual images.
- False alarms: in each draw a random half of the groups of DATA is labelled, and a batch is drawn from the other half;
  and a stream, long, with replacement, from the other half.

Of a group one image is taken for a batch or a stream: it is the groups that are exchangeable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path

import click
import numpy as np

from consilience.core.errors import ConsilienceError, DatasetError
from consilience.core.images import load_image
from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings, load_settings
from consilience.evals.benchmarks.protocols import TEST
from consilience.evals.benchmarks.retaken import SOURCES, retaken
from consilience.orchestrator.fitting.ingest import ingest
from consilience.orchestrator.shift.martingale import OnlineRanks, ShiftMartingale
from consilience.orchestrator.shift.shift_reference import ShiftReference, classes_of
from consilience.orchestrator.shift.two_sample import compared
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.open_encoder import open_encoder
from consilience.retrieval.memory.labelled_images import LabelledImages

LABELLED_PARTS = ("train", "val")
"""Folders of a set whose images may be learned from."""

BATCH = 100
"""Images of a batch, and of a stream after its change."""

LATE = 5000
"""Usual images before a late change."""

MADE_FROM = 120
"""Test images that are taken again, at most."""


@dataclass(frozen=True)
class LabelledSet:
    """A set of images, embedded.

    Attributes:
        labelled: to learn from. same: other images of the same source.
        elsewhere: by name, vectors float32 (n, d) of images from another source, or made so.
    """

    name: str
    labelled: LabelledImages
    same: LabelledImages
    elsewhere: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Noticed:
    """What became of images from elsewhere.

    Attributes:
        p, mean_rank: of a batch; None: too few to tell. alarm: whether it raised one.
        after, late: images until a stream raised one, from its start, and after LATE usual ones; None: it did not.
    """

    p: float | None
    mean_rank: float | None
    alarm: bool
    after: int | None
    late: int | None


@dataclass(frozen=True)
class FalseAlarms:
    """How many `batches` and `streams`, of so many `draws` each, raised an alarm though nothing differs."""

    draws: int
    batches: int
    streams: int


@dataclass(frozen=True)
class SetFigures:
    """The figures of one set; `elsewhere`: by name."""

    elsewhere: Mapping[str, Noticed]
    false_alarms: FalseAlarms


def read_set(folder: Path, settings: Settings, encoder: Encoder, pattern: str | None) -> LabelledSet:
    """Return a folder as a set; of one without test/, a random half of the groups is the same source's other images.

    Args:
        pattern: a regular expression whose first match in the name of a file is its group; None: each image is one.

    Raises:
        DatasetError: the folder cannot be used, or the pattern does not fit a file name.
    """

    def read(part: Path) -> LabelledImages:
        return in_groups(ingest(part, None, settings, quiet).labelled_images, pattern)

    parts = [folder / part for part in LABELLED_PARTS if (folder / part).is_dir()] or [folder]
    labelled = reduce(together, map(read, parts))
    if (folder / TEST).is_dir():
        same = read(folder / TEST)
    else:
        labelled, same = halves(labelled, np.random.default_rng(settings.seed))
    others = [other for other in sorted(folder.glob(f"{TEST}-*")) if other.is_dir()]
    elsewhere = {f"{folder.name} {other.name}": read(other).vectors for other in others}
    rows = np.random.default_rng(settings.seed).permutation(len(same))[:MADE_FROM].tolist()
    for how in SOURCES:
        images = [load_image(same.sources[row], settings.images) for row in rows]
        elsewhere[f"{folder.name} {how}"] = encoder.encode([retaken(image, how) for image in images])
    return LabelledSet(folder.name, labelled, same, elsewhere)


def in_groups(images: LabelledImages, pattern: str | None) -> LabelledImages:
    """Return images with the groups that their file names tell. Raises DatasetError: a name has none."""
    if pattern is None:
        return images
    groups = []
    for source in images.sources:
        if (match := re.search(pattern, Path(source).name)) is None:
            raise DatasetError(f"the name of '{source}' does not match '{pattern}': correct --group")
        groups.append(match[0])
    return replace(images, groups=tuple(groups))


def halves(images: LabelledImages, rng: np.random.Generator) -> tuple[LabelledImages, LabelledImages]:
    """Return two halves that have no group in common, drawn by chance."""
    names = sorted(set(images.groups))
    chosen = {names[place] for place in rng.permutation(len(names))[: len(names) // 2]}
    first = [identity for identity, group in zip(images.ids, images.groups, strict=True) if group in chosen]
    return images.without(ids=set(images.ids) - set(first)), images.without(ids=first)


def together(one: LabelledImages, other: LabelledImages) -> LabelledImages:
    """Return all images of two sets."""
    added = [row for row, identity in enumerate(other.ids) if identity not in one.rows]
    return one.with_added(
        [other.ids[row] for row in added],
        [other.labels[row] for row in added],
        [other.sources[row] for row in added],
        other.vectors[added],
        groups=[other.groups[row] for row in added],
    )[0]


def stream_alarm(reference: ShiftReference, scores: np.ndarray, rng: np.random.Generator) -> int | None:
    """Return after how many scores, float (n,), a stream raises the alarm; None: never."""
    ranks, martingale = OnlineRanks.beside(reference.held_classes()), ShiftMartingale()
    for number, (score_class, chance) in enumerate(
        zip(classes_of(scores).tolist(), rng.random(len(scores)).tolist(), strict=True), 1
    ):
        martingale.bet(ranks.p_value(score_class, chance))
        if martingale.alarm:
            return number
    return None


def one_a_group(images: LabelledImages, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of one image of each group, in random order: images of one group are one thing."""
    order = rng.permutation(len(images))
    _, first = np.unique(np.array(images.groups)[order], return_index=True)
    return np.asarray(rng.permutation(order[first]))


def false_alarms(images: LabelledImages, draws: int, length: int, seed: int) -> FalseAlarms:
    """Return how often a random half of the images raises an alarm beside the other half."""
    batches = streams = 0
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        labelled, new = halves(images, rng)
        reference = ShiftReference.of(labelled, "")
        rows = one_a_group(new, rng)
        batch = rows[:BATCH]
        batches += compared(reference, new.vectors[batch], groups=[new.groups[row] for row in batch]).alarm
        scores = reference.scores(new.vectors[rows])
        streams += stream_alarm(reference, rng.choice(scores, length), rng) is not None
    return FalseAlarms(draws, batches, streams)


def noticed(reference: ShiftReference, usual: np.ndarray, strange: np.ndarray, rng: np.random.Generator) -> Noticed:
    """Return how images from elsewhere are noticed, beside usual ones; of vectors float32 (n, d) and (m, d)."""
    chosen = strange[rng.permutation(len(strange))[:BATCH]]
    batch = compared(reference, chosen, groups=[str(row) for row in range(len(chosen))])
    scores = reference.scores(chosen)
    late = stream_alarm(reference, np.r_[rng.choice(reference.scores(usual), LATE), scores], rng)
    after = stream_alarm(reference, scores, rng)
    return Noticed(batch.p, batch.mean_rank, batch.alarm, after, None if late is None else late - LATE)


def figures_of(own: LabelledSet, sets: Sequence[LabelledSet], draws: int, length: int, seed: int) -> SetFigures:
    """Return the figures of a set, beside the others."""
    rng = np.random.default_rng(seed)
    reference = ShiftReference.of(own.labelled, "")
    usual = own.same.vectors[one_a_group(own.same, rng)]
    strange = dict(own.elsewhere) | {other.name: other.same.vectors for other in sets if other is not own}
    elsewhere = {name: noticed(reference, usual, vectors, rng) for name, vectors in strange.items()}
    return SetFigures(elsewhere, false_alarms(together(own.labelled, own.same), draws, length, seed))


def lines_of(name: str, figures: SetFigures) -> list[str]:
    """Return the figures of a set as lines of text."""
    alarms, lines = figures.false_alarms, []
    for other, result in figures.elsewhere.items():
        batch = "too few to tell" if result.p is None else f"p {result.p:.1e}, mean rank {result.mean_rank:.3f}"
        after, late = (f"after {n} images" if n is not None else "never" for n in (result.after, result.late))
        lines.append(
            f"{name} against {other}: {batch}, {'alarm' if result.alarm else 'NO ALARM'}; stream {after}, {late} after "
            f"{LATE:,} usual ones"
        )
    return [
        *lines,
        f"{name} against itself: false alarms in {alarms.batches} of {alarms.draws} batches and in {alarms.streams} of "
        f"{alarms.draws} streams",
    ]


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--group", "pattern", metavar="REGEX", help="Its first match in the name of a file is the image's group.")
@click.option("--draws", type=click.IntRange(min=1), default=200, show_default=True, help="Of each kind.")
@click.option("--length", type=click.IntRange(min=1), default=10_000, show_default=True, help="Images of a stream.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(sources: tuple[Path, ...], pattern: str | None, draws: int, length: int, seed: int, file: Path | None) -> None:
    """Measure alarms and false alarms on SOURCES."""
    try:
        settings = load_settings(seed=seed)
        encoder = open_encoder(settings.encoders, device=settings.device)
        sets = [read_set(source, settings, encoder, pattern) for source in sources]
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    results = {}
    for own in sets:
        results[own.name] = figures_of(own, sets, draws, length, seed)
        click.echo("\n".join(lines_of(own.name, results[own.name])))
    if file is not None:
        file.write_text(json.dumps({name: asdict(result) for name, result in results.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
