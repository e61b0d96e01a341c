"""How accurate and how honest a panel is on images that it was not fitted on.

    python -m consilience.evals.benchmarks.accuracy FOLDER                  fit on train/ and val/, diagnose test/
    python -m consilience.evals.benchmarks.accuracy FOLDER --shots 16       the same on 16 images a label, 5 draws
    python -m consilience.evals.benchmarks.accuracy VECTORS.npz --shots 4   fit on 4 vectors a label, diagnose the rest
    python -m consilience.evals.benchmarks.accuracy DATA --shots 4 --unlabelled   the others without their labels, too
    python -m consilience.evals.benchmarks.accuracy VECTORS.npz --folds 10  cross-validation

Settings come from the environment and the settings file, as everywhere: CONSILIENCE_ENCODERS names another encoder,
or several with commas between them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from consilience.core.errors import ConsilienceError
from consilience.core.settings.settings import load_settings
from consilience.evals.benchmarks.protocols import Judged, cross_validation, few_shots, held_out
from consilience.evals.scores import FUSION, Score, scores
from consilience.orchestrator.fitting.ingest import is_vectors


@dataclass(frozen=True)
class Outcome:
    """The figures of one run of a protocol.

    Attributes:
        images: how many were judged. failed, known: see `Judged`.
        scores: of each agent's look, and last of the fusion.
        settled: share of the images whose verdict is "confident".
        accuracy_of_settled: share of those that were right; None without any.
        ahead: images that the fusion has right beyond its best agent; negative if it has fewer.
    """

    images: int
    failed: int
    known: int
    scores: tuple[Score, ...]
    settled: float
    accuracy_of_settled: float | None
    ahead: int

    @classmethod
    def of(cls, judged: Judged) -> Outcome:
        """Return the figures of one run of a protocol."""
        table = scores(judged.diagnoses, judged.truths)
        right = [round(score.accuracy * score.n) for score in table]
        settled = [
            diagnosis.label == truth
            for diagnosis, truth in zip(judged.diagnoses, judged.truths, strict=True)
            if diagnosis.settled
        ]
        return cls(
            len(judged.truths),
            len(judged.failed),
            judged.known,
            tuple(table),
            len(settled) / max(len(judged.truths), 1),
            float(np.mean(settled)) if settled else None,
            right[-1] - max(right[:-1]),
        )


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the scores as text: one run with the 95 % interval of accuracy, several as mean ± standard deviation."""
    lines = [f"{'':14}{'images':>7}  {'accuracy':^24}{'ECE':^16}{'OCR':>7}{'CCC':>7}{'Brier':>8}{'weight':>8}"]
    for who in dict.fromkeys(score.who for outcome in outcomes for score in outcome.scores):
        rows = [score for outcome in outcomes for score in outcome.scores if score.who == who]
        mean = {name: _mean([getattr(row, name) for row in rows]) for name in ("ocr", "ccc", "brier")}
        weight = "" if who == FUSION else f"{_mean([row.weight or 0.0 for row in rows]):.1%}"
        accuracy = _spread([row.accuracy for row in rows])
        if len(outcomes) == 1:
            accuracy += f" ({rows[0].low:.3f} to {rows[0].high:.3f})"
        lines.append(
            f"{who:14}{sum(row.n for row in rows):7,}  {accuracy:^24}{_spread([row.ece for row in rows]):^16}"
            f"{mean['ocr']:7.3f}{mean['ccc']:7.2f}{mean['brier']:8.3f}{weight:>8}"
        )
    return "\n".join(lines)


def remarks_on(outcomes: Sequence[Outcome]) -> str:
    """Return what the scores do not tell, one line each: what was settled, what was left out."""
    settled = [outcome.accuracy_of_settled for outcome in outcomes if outcome.accuracy_of_settled is not None]
    ahead = [outcome.ahead for outcome in outcomes]
    remarks = [
        f"settled: {_mean([outcome.settled for outcome in outcomes]):.1%} of the images"
        + (f", {_mean(settled):.1%} of those right" if settled else ""),
        "fusion against its best agent, in images right: "
        + (f"{ahead[0]:+d}" if len(ahead) == 1 else f"{_mean(ahead):+.1f}, at worst {min(ahead):+d}"),
    ]
    remarks += [
        f"{what}: {count}"
        for what, count in (
            ("without a diagnosis, and counted in no figure", sum(outcome.failed for outcome in outcomes)),
            ("left out, because the panel was fitted on them", sum(outcome.known for outcome in outcomes)),
        )
        if count
    ]
    return "\n".join(remarks)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _spread(values: Sequence[float]) -> str:
    """Return the value, or the mean of several and their standard deviation."""
    return f"{values[0]:.3f}" if len(values) == 1 else f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--shots", type=click.IntRange(min=1), help="Fit on so many images a label instead of all.")
@click.option("--draws", type=click.IntRange(min=1), default=5, show_default=True, help="Draws of --shots.")
@click.option("--unlabelled", is_flag=True, help="With --shots: give the others without their labels, too.")
@click.option("--folds", type=click.IntRange(min=2), default=10, show_default=True, help="Folds, for an .npz.")
@click.option("--repeats", type=click.IntRange(min=1), default=1, show_default=True, help="Repeats of the folds.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(
    source: Path,
    shots: int | None,
    draws: int,
    unlabelled: bool,
    folds: int,
    repeats: int,
    seed: int,
    file: Path | None,
) -> None:
    """Measure accuracy and calibration on SOURCE: a folder with train/, val/ and test/, or an .npz of vectors."""
    if unlabelled and shots is None:
        raise click.UsageError("--unlabelled goes with --shots: else all labels are given")
    try:
        settings = load_settings(seed=seed)
        if shots is not None:
            beside = ", others without their labels" * unlabelled
            what = f"fitted on {shots} image{'s' * (shots > 1)} a label{beside}, {draws} draw{'s' * (draws > 1)}"
            judged = list(few_shots(source, shots, draws, settings, with_unlabelled=unlabelled))
        elif is_vectors(source):
            what = f"{folds}-fold cross-validation"
            judged = list(cross_validation(source, folds, repeats, settings))
        else:
            what = "fitted on train/ and val/, diagnosed test/"
            judged = [held_out(source, settings)]
        outcomes = [Outcome.of(run) for run in judged]
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{source.name}: {what}, seed {seed}\n\n{table_of(outcomes)}\n\n{remarks_on(outcomes)}")
    if file is not None:
        figures: dict[str, Any] = {"protocol": what, "seed": seed, "runs": [asdict(outcome) for outcome in outcomes]}
        file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
