"""What a panel gains and loses by a new label and by feedback, on a folder with train/, val/ and test/.

    python -m consilience.evals.benchmarks.continual FOLDER

- A new label: for each label in turn, a panel is fitted on the others in train/, and the label is added by `add_label`
  from 32 images. Judged on test/: the others before and after, and all labels against a panel that was fitted on the
  same images at once.
- Wrong feedback: a panel is fitted on 20 vectors a label of train/ and diagnoses the other images of train/ and val/.
  Two people say what each shows, and each says something else than the truth for 10 % of the images. What they agree
  on is learned. Judged on test/, before and after, and against what is learned if both are always right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from consilience.core.dataset import LabelledImage, read_labelled_folder
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import ConsilienceError
from consilience.core.progress import quiet
from consilience.core.settings.settings import LearningSettings, load_settings
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.feedback.learning import learn
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.fitting.ingest import ingest
from consilience.orchestrator.fitting.new_label import add_label
from consilience.retrieval.memory.labelled_images import LabelledImages

NEW, SHOTS, WRONG, PEOPLE = 32, 20, 0.1, 2
"""Images of a new label; images a label to start with; share of wrong votes; people who vote on an image."""


def new_label(folder: Path, seed: int) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield of each label its name, accuracy on the others before and after, and on all: after, and fitted at once."""
    train, test = (read_labelled_folder(folder / part) for part in ("train", "test"))
    for label in train.labels:
        rng = np.random.default_rng([seed, train.labels.index(label)])
        own = [image for image in train.images if image.label == label]
        new = [own[row] for row in sorted(rng.choice(len(own), NEW, replace=False))]
        others = [image for image in train.images if image.label != label]
        with _laid_out(others) as start, _laid_out([*others, *new]) as whole, TemporaryDirectory() as panels:
            grown, at_once = Path(panels, "grown"), Path(panels, "at-once")
            fit(start, grown, seed=seed, images__follow_links=True)
            before = accuracies(grown, test.images)
            add_label(grown, label, [image.path for image in new], seed=seed)
            fit(whole, at_once, seed=seed, images__follow_links=True)
            after, anew = accuracies(grown, test.images), accuracies(at_once, test.images)
        kept = [name for name in train.labels if name != label]
        yield label, _mean(before, kept), _mean(after, kept), _mean(after, train.labels), _mean(anew, train.labels)


def wrong_feedback(folder: Path, seed: int) -> tuple[float, float, float, int, int]:
    """Return accuracy before feedback, with wrong votes and with right ones; images learned, and how many wrong."""
    known = ingest(folder, None, load_settings(), quiet)
    test = ingest(folder / "test", known.task, load_settings(), quiet).labelled_images
    test, names = test.without(ids=known.labelled_images.ids), known.task.names
    labels, rng = np.array(known.labelled_images.labels), np.random.default_rng(seed)
    start = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == name))[:SHOTS] for name in names]))
    rest = rng.permutation(np.setdiff1d(np.arange(len(labels)), start))
    measured: list[float] = []
    learned = wrong = 0
    for share in (WRONG, 0.0):
        with TemporaryDirectory() as place:
            panel = Path(place, "panel")
            fit(_saved(known.labelled_images, start, Path(place, "start.npz")), panel, seed=seed)
            if not measured:
                measured.append(_accuracy_on(panel, test))
            counts = _feedback(panel, known.labelled_images, rest, share, names, rng)
            learn(panel, learning__review="agreement", learning__people=PEOPLE, seed=seed)
            measured.append(_accuracy_on(panel, test))
            if share:
                learned, wrong = counts
    return measured[0], measured[1], measured[2], learned, wrong


def accuracies(panel: Path, images: Sequence[LabelledImage]) -> dict[str, float]:
    """Return the share of each label's images that are diagnosed right; 0 for a label that the panel does not know."""
    right: dict[str, list[bool]] = {}
    with Diagnoser.open(panel) as diagnoser:
        for image, result in zip(images, diagnoser.diagnose_many(image.path for image in images), strict=True):
            right.setdefault(image.label, []).append(_diagnosis(result).label == image.label)
    return {label: float(np.mean(of_label)) for label, of_label in right.items()}


def _feedback(
    panel: Path,
    labelled_images: LabelledImages,
    rows: np.ndarray,
    share: float,
    names: Sequence[str],
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Have two people vote on each image. Return how many votes count, and how many of those are wrong."""
    counted = wrong = 0
    with Diagnoser.open(panel) as diagnoser, History.open(panel) as history:
        feedbacks = Feedbacks(history, LearningSettings(review="agreement", people=PEOPLE))
        results = diagnoser.diagnose_vectors(labelled_images.vectors[rows], [labelled_images.ids[row] for row in rows])
        for row, result in zip(rows, results, strict=True):
            id, truth = history.keep(_diagnosis(result)).id, labelled_images.labels[row]
            others = [name for name in names if name != truth]
            votes = [str(rng.choice(others)) if rng.random() < share else truth for _ in range(PEOPLE)]
            kept_votes = [feedbacks.give(id, f"person {number}", vote) for number, vote in enumerate(votes)]
            counted += kept_votes[-1].status == "counts"
            wrong += kept_votes[-1].status == "counts" and votes[0] != truth
    return counted, wrong


def _accuracy_on(panel: Path, test: LabelledImages) -> float:
    with Diagnoser.open(panel) as diagnoser:
        results = diagnoser.diagnose_vectors(test.vectors, test.ids)
        return float(
            np.mean([_diagnosis(result).label == truth for result, truth in zip(results, test.labels, strict=True)])
        )


def _diagnosis(result: Diagnosis | FailedImage) -> Diagnosis:
    if isinstance(result, FailedImage):
        raise result.error
    return result


def _saved(labelled_images: LabelledImages, rows: np.ndarray, file: Path) -> Path:
    labels, names = ([texts[row] for row in rows] for texts in (labelled_images.labels, labelled_images.ids))
    np.savez(file, embeddings=labelled_images.vectors[rows], labels=labels, names=names)
    return file


@contextmanager
def _laid_out(images: Sequence[LabelledImage]) -> Iterator[Path]:
    """Return a folder with one subfolder a label, of links to the images."""
    with TemporaryDirectory() as folder:
        for image in images:
            place = Path(folder, image.label)
            place.mkdir(exist_ok=True)
            (place / Path(image.path).name).symlink_to(Path(image.path).absolute())
        yield Path(folder)


def _mean(by_label: dict[str, float], labels: Sequence[str]) -> float:
    return float(np.mean([by_label[label] for label in labels]))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--draws", type=click.IntRange(min=1), default=5, show_default=True, help="Draws of the feedback.")
def main(folder: Path, seed: int, draws: int) -> None:
    """Measure on FOLDER, with train/, val/ and test/, what a new label and wrong feedback change."""
    try:
        click.echo(f"{'new label':20}{'others before':>15}{'after':>8}{'all after':>12}{'at once':>9}")
        rows = []
        for label, *figures in new_label(folder, seed):
            rows.append(figures)
            click.echo(f"{label:20}{figures[0]:15.3f}{figures[1]:8.3f}{figures[2]:12.3f}{figures[3]:9.3f}")
        means = np.mean(rows, axis=0)
        click.echo(f"{'mean':20}{means[0]:15.4f}{means[1]:8.4f}{means[2]:12.4f}{means[3]:9.4f}\n")
        click.echo(f"{'feedback, draw':20}{'before':>8}{'10 % wrong':>12}{'all right':>11}{'learned':>9}{'wrong':>7}")
        by_draw = []
        for draw in range(draws):
            by_draw.append(wrong_feedback(folder, seed + draw))
            before, with_wrong, clean, learned, wrong = by_draw[-1]
            click.echo(f"{draw:<20}{before:8.3f}{with_wrong:12.3f}{clean:11.3f}{learned:9,}{wrong:7,}")
        means = np.mean(by_draw, axis=0)
        click.echo(f"{'mean':20}{means[0]:8.4f}{means[1]:12.4f}{means[2]:11.4f}{means[3]:9.1f}{means[4]:7.1f}")
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
