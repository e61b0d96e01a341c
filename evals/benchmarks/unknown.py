"""How much better images of no known label are told after people said of a few of them "none of these".

    python -m consilience.evals.benchmarks.unknown DATA

DATA has train/ and test/ (val/ is learned, too). Each label is left out of the panel in turn; of its images in train/
and val/, K are given as examples of the unknown, drawn anew each time; the others, and those in test/, are to be told
from the known labels' images in test/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from consilience.core.errors import ConsilienceError
from consilience.core.progress import quiet
from consilience.core.settings.settings import load_settings
from consilience.core.task import NONE_OF_THESE
from consilience.evals.benchmarks.novelty import rows_of, told_apart
from consilience.evals.benchmarks.protocols import TEST, fitted_on
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.ingest import ingest
from consilience.retrieval.memory.labelled_images import LabelledImages

EXAMPLES = (0, 1, 5, 20)
"""How many images are given as examples of the unknown."""

Figures = tuple[float, float, float]
"""AUROC, and the shares of the novel and of the known images that are called novel."""


def with_examples(diagnoser: Diagnoser, examples: np.ndarray, known: np.ndarray, novel: np.ndarray) -> Figures:
    """Return how novel vectors (m, d) are told from known ones (n, d) by the panel with examples of the unknown (k, d).

    The panel on disk stays as it is.
    """
    k = len(examples)
    unknown = LabelledImages(tuple(map(str, range(k))), (NONE_OF_THESE,) * k, ("",) * k, examples) if k else None
    panel = replace(diagnoser.panel, unknown=unknown)
    with Diagnoser(panel, diagnoser.settings, (), diagnoser.encoder) as taught:
        figures = told_apart(taught, known, novel)
    auroc = figures.score.auroc
    return float("nan") if auroc is None else auroc, figures.novel_called, figures.known_called


def line_of(k: int, figures: Sequence[Figures]) -> str:
    """Return the means over labels and draws as one line of text."""
    auroc, novel, known = np.mean(figures, axis=0)
    return f"{k} examples: AUROC {auroc:.3f}, novel called novel {novel:.1%}, known called novel {known:.1%}"


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--draws", type=click.IntRange(min=1), default=5, show_default=True, help="Of the examples, a label.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(source: Path, draws: int, seed: int, file: Path | None) -> None:
    """Measure on SOURCE what a few answers "none of these" teach."""
    results: dict[int, list[Figures]] = {k: [] for k in EXAMPLES}
    try:
        settings = load_settings(seed=seed)
        labelled = ingest(source, None, settings, quiet)
        images, names = labelled.labelled_images, labelled.task.names
        test = ingest(source / TEST, labelled.task, settings, quiet).labelled_images.without(ids=images.ids)
        for name in names:
            others = set(names) - {name}
            left_out, known = images.vectors[rows_of(images, {name})], test.vectors[rows_of(test, others)]
            with fitted_on(images, rows_of(images, others).tolist(), settings) as diagnoser:
                for k in EXAMPLES:
                    for draw in range(draws if k else 1):
                        rows = np.random.default_rng([seed, draw, k]).permutation(len(left_out))
                        novel = np.concatenate([left_out[rows[k:]], test.vectors[rows_of(test, {name})]])
                        results[k].append(with_examples(diagnoser, left_out[rows[:k]], known, novel))
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    for k, figures in results.items():
        click.echo(line_of(k, figures))
    if file is not None:
        file.write_text(json.dumps(_plain(results), indent=1) + "\n", encoding="utf-8")


def _plain(results: Mapping[int, Sequence[Figures]]) -> dict[str, list[list[float]]]:
    return {str(k): [list(figure) for figure in figures] for k, figures in results.items()}


if __name__ == "__main__":
    main()
