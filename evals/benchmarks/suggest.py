"""What labels that `suggest` asks for are worth, beside as many drawn at random.

    python -m consilience.evals.benchmarks.suggest FOLDER     train/ is the pool, test/ judges

Each draw starts from the same few labelled images for both. `suggest` asks in rounds and learns between them; the
random labels come all at once, which makes no difference to them. Then a panel is fitted on each and judges test/. The
method and eight rounds were chosen on train/ and val/ alone.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from consilience.agents import Gaussian, LabelledFeatures
from consilience.core.errors import ConsilienceError
from consilience.core.progress import quiet
from consilience.core.settings.settings import load_settings
from consilience.core.task import Task
from consilience.evals.benchmarks.protocols import TEST, judged_vectors
from consilience.orchestrator.fitting.active_learning import mean_prediction, most_helpful, one_minus_margin, typicality
from consilience.orchestrator.fitting.ingest import ingest
from consilience.orchestrator.panel.panel import labelled_features
from consilience.orchestrator.runtime.blas_threads import one_blas_thread

POOL = "train"


def asked(task: Task, data: LabelledFeatures, start: np.ndarray, labels: int, rounds: int) -> np.ndarray:
    """Return the rows to start with and `labels` rows more that `suggest` asks for, in so many rounds."""
    known = start
    for part in np.array_split(np.arange(labels), rounds):
        here = data.take(known)
        pool = np.setdiff1d(np.arange(len(data.labels)), known)
        vectors = data.features[pool]
        with one_blas_thread():
            unsure = one_minus_margin(mean_prediction(task, [Gaussian.fit(here)], here, vectors))
            worth = unsure * typicality(vectors, here.features)
            rows = [row for row, _ in most_helpful(worth, vectors, here.features, len(part))]
        known = np.concatenate([known, pool[rows]])
    return known


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--start", default=2, show_default=True, type=click.IntRange(min=2), help="Images a label to begin with.")
@click.option("--labels", default=40, show_default=True, type=click.IntRange(min=1), help="Labels to ask for.")
@click.option("--rounds", default=8, show_default=True, type=click.IntRange(min=1), help="In so many rounds.")
@click.option("--draws", default=10, show_default=True, type=click.IntRange(min=2), help="Starts drawn at random.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of every random choice.")
def main(folder: Path, start: int, labels: int, rounds: int, draws: int, seed: int) -> None:
    """Compare labels asked for by `suggest` with labels drawn at random, on FOLDER with train/ and test/."""
    try:
        settings = load_settings(seed=seed)
        pool = ingest(folder / POOL, None, settings, quiet)
        test = ingest(folder / TEST, pool.task, settings, quiet).labelled_images.without(ids=pool.labelled_images.ids)
        data = labelled_features(pool.labelled_images, pool.task)
        accuracies: dict[str, list[float]] = {"start": [], "random": [], "suggest": []}
        for draw in range(draws):
            rng = np.random.default_rng([seed, draw])
            each = [np.flatnonzero(data.labels == label) for label in range(data.n_labels)]
            begun = np.sort(np.concatenate([rng.choice(rows, start, replace=False) for rows in each]))
            rest = np.setdiff1d(np.arange(len(data.labels)), begun)
            sets = {
                "start": begun,
                "random": np.concatenate([begun, rng.choice(rest, labels, replace=False)]),
                "suggest": asked(pool.task, data, begun, labels, rounds),
            }
            for how, rows in sets.items():
                judged = judged_vectors(pool.labelled_images, np.sort(rows).tolist(), test, range(len(test)), settings)
                right = [
                    diagnosis.label == truth for diagnosis, truth in zip(judged.diagnoses, judged.truths, strict=True)
                ]
                accuracies[how].append(float(np.mean(right)))
            click.echo(
                f"draw {draw + 1}: " + ", ".join(f"{how} {values[-1]:.3f}" for how, values in accuracies.items())
            )
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    ahead = np.array(accuracies["suggest"]) - np.array(accuracies["random"])
    spread = 1.96 * ahead.std(ddof=1) / np.sqrt(draws)
    click.echo(f"\n{folder.name}: {start} images a label to begin with, {labels} labels asked in {rounds} rounds")
    click.echo("; ".join(f"{how} {np.mean(values):.3f}" for how, values in accuracies.items()))
    click.echo(
        f"suggest ahead of random by {100 * ahead.mean():.1f} points (± {100 * spread:.1f}, 95 %, {draws} draws)"
    )


if __name__ == "__main__":
    main()
