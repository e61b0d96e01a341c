"""How well agents are weighed, beside what people would use instead, on the same labelled and new images.

    python -m consilience.evals.benchmarks.weighing                     simulated agents
    python -m consilience.evals.benchmarks.weighing ANSWERS.csv ...     tables of answers with the truth
    ... --labelled 0                                                    what agreement alone tells, as `--no-truth`

Each draw takes some labelled images, and judges every method on other images (up to 1,000). Accuracy and log loss come
with the 95 % interval of the mean over draws and data; `worst` is how far a method is behind the best of the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np

from consilience.core.errors import ConsilienceError
from consilience.core.progress import quiet
from consilience.core.sources.answer_table import AnswerTable
from consilience.evals.benchmarks.weighing.crowd_methods import CROWD_METHODS
from consilience.evals.benchmarks.weighing.pooling_methods import METHODS, NEW_IMAGES, WITHOUT_TRUTH, Method, Split
from consilience.evals.benchmarks.weighing.simulated_agents import REGIMES, drawn_regimes, simulated
from consilience.orchestrator.answers.labelled_answers import LabelledAnswers
from consilience.orchestrator.ensemble.trust_metrics import score_predictions
from consilience.orchestrator.runtime.blas_threads import one_blas_thread


def read_answers(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return raw answers (a, n, c) of a table of answers, rows of NaN for none, and labels (n,); second looks are not.

    Raises:
        DatasetError: it cannot be used; names the row.
    """
    with AnswerTable(path) as table:
        labelled = LabelledAnswers.read(table, None, quiet)
    in_order = labelled.take(np.argsort(labelled.names))  # draws must not depend on the order of the rows
    first = sorted(look for look in in_order.looks if look[1] == "first")
    return np.stack([in_order.looks[look] for look in first]), in_order.labels


def compared(splits: Iterator[Split], methods: Mapping[str, Method]) -> dict[str, np.ndarray]:
    """Return of each method accuracy, log loss, ECE and seconds in every split, (splits, 4)."""
    figures: dict[str, list[tuple[float, ...]]] = {name: [] for name in methods}
    with one_blas_thread():
        for split in splits:
            for name, method in methods.items():
                start = time.perf_counter()
                posterior = method(split)
                seconds = time.perf_counter() - start
                score = score_predictions(posterior, split.truth)
                figures[name].append((score.accuracy or 0.0, score.log_loss or 0.0, score.ece, seconds))
    return {name: np.array(rows) for name, rows in figures.items()}


def table_of(results: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Return the figures as text: the mean over all data of each method, and what is worst beside the others'."""
    lines = [
        f"{'':20}{'accuracy':^18}{'log loss':^18}{'ECE':>7}{'seconds':>9}{'worst accuracy':>16}{'worst log loss':>16}"
    ]
    methods = [*next(iter(results.values()))]
    means = {name: np.array([of[name].mean(axis=0) for of in results.values()]) for name in methods}
    for name in methods:
        rows = np.concatenate([of[name] for of in results.values()])
        half = 1.96 * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
        others = np.stack([mean for other, mean in means.items() if other != name])
        behind = (others[:, :, 0].max(axis=0) - means[name][:, 0]).max()
        more = (means[name][:, 1] - others[:, :, 1].min(axis=0)).max()
        accuracy, loss, ece, seconds = rows.mean(axis=0)
        figures = f"{f'{accuracy:.3f} ± {half[0]:.3f}':^18}{f'{loss:.3f} ± {half[1]:.3f}':^18}{ece:7.3f}{seconds:9.2f}"
        lines.append(f"{name:20}{figures}{behind:+16.3f}{more:+16.3f}")
    return "\n".join(lines)


@click.command()
@click.argument("tables", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--labelled", default="20,50,100,320", show_default=True, help="Labelled images, several by commas.")
@click.option("--draws", default=3, show_default=True, type=click.IntRange(min=2), help="Draws of each.")
@click.option("--each", is_flag=True, help="Also print the accuracy and log loss on each of the data.")
@click.option("--drawn", default=0, help="So many kinds of agents, drawn at random, instead of those with names.")
@click.option("--crowd-kit", is_flag=True, help="Also GLAD and MACE of crowd-kit: slow; needs the extra `benchmark`.")
def main(tables: tuple[Path, ...], labelled: str, draws: int, each: bool, drawn: int, crowd_kit: bool) -> None:
    """Compare the weighing with other methods, on TABLES of answers, or on simulated agents."""
    more = CROWD_METHODS if crowd_kit else {}
    try:
        regimes = drawn_regimes(drawn) if drawn else REGIMES
        data = {path.stem: read_answers(path) for path in tables}
        for known in map(int, labelled.split(",")):
            results = {}
            for name in data or regimes:

                def splits(name: str = name, known: int = known) -> Iterator[Split]:
                    for seed in range(draws):
                        n = known + NEW_IMAGES
                        raw, truth = data[name] if data else simulated(name, n, seed, regimes[name])
                        yield Split.drawn(raw, truth, known, seed)

                if not data or known <= 0.75 * len(data[name][1]):
                    results[name] = compared(splits(), {**(METHODS if known else WITHOUT_TRUTH), **more})
            if results:
                click.echo(f"\n{known} labelled images, {len(results)} sets of answers, {draws} draws\n")
                click.echo(table_of(results))
                if each:
                    for name, of in results.items():
                        means = (f"{other} {of[other][:, 0].mean():.3f}/{of[other][:, 1].mean():.3f}" for other in of)
                        click.echo(f"{name}: {', '.join(means)}")
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
