"""How well novelty tells images of no known label from others, and what it makes of known ones that are mildly worse.

    python -m consilience.evals.benchmarks.novelty DATA --other FOLDER

DATA has train/, val/ and test/, FOLDER is any labelled folder of other images.

- A panel on train/ and val/: test/ against all of FOLDER; and test/ under mild corruptions.
- The other way round: a panel on a random half of FOLDER, its other half against test/.
- Each label left out of the panel in turn: the other labels' images in test/ against all of its images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError
from consilience.core.images import load_image
from consilience.core.progress import quiet
from consilience.core.settings.settings import Settings, load_settings
from consilience.evals.benchmarks.protocols import TEST, fitted_on
from consilience.evals.novelty_detection import KnownNovel, compared, of_diagnoses
from consilience.evals.robustness.corruptions import CORRUPTIONS, corrupted
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.ingest import ingest
from consilience.retrieval.memory.labelled_images import LabelledImages

MILD = (1, 2)
"""Strengths of the corruptions that count as mild."""

Scores = Mapping[str, np.ndarray]


def scores(diagnoser: Diagnoser, vectors: np.ndarray) -> Scores:
    """Return the novelty of vectors (n, d), and each sign, as `compared` takes them."""
    results = diagnoser.diagnose_vectors(vectors, [str(row) for row in range(len(vectors))])
    return of_diagnoses((result.novelty, result.novelty_signs) for result in results if isinstance(result, Diagnosis))


def rows_of(labelled_images: LabelledImages, labels: Iterable[str]) -> np.ndarray:
    """Return the rows of the images that have one of the labels, int (n,)."""
    return np.flatnonzero(np.isin(labelled_images.labels, list(labels)))


def told_apart(diagnoser: Diagnoser, known: np.ndarray, novel: np.ndarray) -> KnownNovel:
    """Return how well novelty tells vectors of novel images (m, d) from those of known ones (n, d)."""
    figures = compared(scores(diagnoser, known), scores(diagnoser, novel), diagnoser.settings.policy.max_novelty)
    if figures is None:
        raise click.ClickException("there are no images to compare")
    return figures


def called_when_worse(diagnoser: Diagnoser, test: LabelledImages, settings: Settings) -> dict[str, float]:
    """Return the share of the known images that are called novel, by corruption and strength."""
    from consilience.retrieval.encoders.open_encoder import open_encoder

    encoder, shares = open_encoder(settings.encoders, device=settings.device), {}
    images = [load_image(source, settings.images) for source in test.sources]
    for name in CORRUPTIONS:
        for strength in MILD:
            parts = [
                images[start : start + settings.batch_size] for start in range(0, len(images), settings.batch_size)
            ]
            worse = [encoder.encode([corrupted(image, name, strength) for image in part]) for part in parts]
            novelty = scores(diagnoser, np.concatenate(worse))[""]
            shares[f"{name}-{strength}"] = float((novelty > settings.policy.max_novelty).mean())
    return shares


def line_of(what: str, figures: KnownNovel) -> str:
    """Return the figures as one line of text."""
    by_sign = ", ".join(f"{name} {sign.auroc:.3f}" for name, sign in figures.signs.items())
    return (
        f"{what}: AUROC {figures.score.auroc:.4f}, FPR at 95 % {figures.score.fpr_at_95:.3f} ({by_sign}); "
        f"called novel {figures.novel_called:.1%}, of the known {figures.known_called:.1%}"
    )


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--other", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(source: Path, other: Path, seed: int, file: Path | None) -> None:
    """Measure novelty on SOURCE against OTHER."""
    try:
        settings = load_settings(seed=seed)
        labelled = ingest(source, None, settings, quiet)
        labelled_images, names = labelled.labelled_images, labelled.task.names
        test = ingest(source / TEST, labelled.task, settings, quiet).labelled_images.without(ids=labelled_images.ids)
        strange = ingest(other, None, settings, quiet).labelled_images
        results: dict[str, KnownNovel] = {}
        with fitted_on(labelled_images, range(len(labelled_images)), settings) as diagnoser:
            results[f"{source.name} against {other.name}"] = told_apart(diagnoser, test.vectors, strange.vectors)
            worse = called_when_worse(diagnoser, test, settings)
        half, rest = np.array_split(np.random.default_rng(seed).permutation(len(strange)), 2)
        with fitted_on(strange, half.tolist(), settings) as diagnoser:
            result = told_apart(diagnoser, strange.vectors[rest], test.vectors)
            results[f"{other.name} against {source.name}"] = result
        for name in names:
            others = set(names) - {name}
            with fitted_on(labelled_images, rows_of(labelled_images, others).tolist(), settings) as diagnoser:
                known, own = (
                    test.vectors[rows_of(test, others)],
                    [part.vectors[rows_of(part, {name})] for part in (labelled_images, test)],
                )
                results[f"without {name}"] = told_apart(diagnoser, known, np.concatenate(own))
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    for what, apart in results.items():
        click.echo(line_of(what, apart))
    left_out = [results[f"without {name}"] for name in names]
    means = {sign: np.mean([detection.signs[sign].auroc for detection in left_out]) for sign in left_out[0].signs}
    click.echo(
        f"one label left out, mean AUROC {np.mean([detection.score.auroc for detection in left_out]):.4f} ("
        + ", ".join(f"{sign} {mean:.3f}" for sign, mean in means.items())
        + ")"
    )
    for strength in MILD:
        shares = {name: share for name, share in worse.items() if name.endswith(f"-{strength}")}
        listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        click.echo(f"known images called novel at strength {strength}: {np.mean([*shares.values()]):.1%} ({listed})")
    if file is not None:
        figures = {what: asdict(detection) for what, detection in results.items()} | {"mild corruptions": worse}
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
