"""How many wrong labels, planted at random, are among the first that `suspects` shows.

    python -m consilience.evals.benchmarks.label_errors FOLDER     all images of train/, val/ and test/ that there are

The label of some images is replaced by another one, drawn at random, and a panel is fitted on what there is then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from consilience.core.errors import ConsilienceError
from consilience.core.progress import quiet
from consilience.core.settings.settings import load_settings
from consilience.core.task import Task
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.fitting.ingest import ingest
from consilience.orchestrator.label_errors.suspects import suspects
from consilience.retrieval.memory.labelled_images import LabelledImages

PARTS = ("train", "val", "test")


def planted(labels: Sequence[str], names: Sequence[str], wrong: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Return n labels of which `wrong` are replaced by another one of `names`, and which these are, bool (n,)."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), wrong, replace=False)
    shifts = np.zeros(len(labels), dtype=np.intp)
    shifts[rows] = rng.integers(1, len(names), wrong)
    place = {name: number for number, name in enumerate(names)}
    changed = [names[(place[label] + shift) % len(names)] for label, shift in zip(labels, shifts.tolist(), strict=True)]
    return changed, shifts > 0


def found(images: LabelledImages, task: Task, encoder: str, wrong: int, shown: int, seed: int) -> int:
    """Return how many of so many planted wrong labels are among the first that are shown."""
    labels, is_wrong = planted(images.labels, task.names, wrong, seed)
    with TemporaryDirectory() as folder:
        vectors = Path(folder) / "vectors.npz"
        np.savez(
            vectors,
            embeddings=images.vectors,
            labels=np.array(labels),
            names=np.array(images.ids),
            encoder=np.array(encoder),
        )
        fit(vectors, Path(folder) / "panel", task=task)
        suspected = suspects(Path(folder) / "panel", shown)
    wrong_names = {identity for identity, is_planted in zip(images.ids, is_wrong, strict=True) if is_planted}
    return sum(suspect.source in wrong_names for suspect in suspected.shown)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--wrong", default=30, show_default=True, type=click.IntRange(min=1), help="Wrong labels to plant.")
@click.option("--shown", default=40, show_default=True, type=click.IntRange(min=1), help="How many are looked at.")
@click.option("--draws", default=3, show_default=True, type=click.IntRange(min=1), help="Times that it is done.")
def main(folder: Path, wrong: int, shown: int, draws: int) -> None:
    """Plant wrong labels among the images of FOLDER with train/, val/ or test/, and count those that are found."""
    try:
        settings, task = load_settings(), None
        images: LabelledImages | None = None
        for part in filter(Path.is_dir, (folder / name for name in PARTS)):
            read = ingest(part, task, settings, quiet)
            task, more, encoder = read.task, replace(read.labelled_images, thumbnails=()), read.encoder.name
            if images is None:
                images = more
            else:
                images, _ = images.with_added(more.ids, more.labels, more.sources, more.vectors)
        if images is None or task is None:
            raise click.ClickException(f"'{folder}' has none of {', '.join(PARTS)}")
        for seed in range(draws):
            right = found(images, task, encoder, wrong, shown, seed)
            click.echo(
                f"draw {seed + 1}: {right} of {wrong} wrong labels among the first {shown}; {len(images)} images"
            )
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
