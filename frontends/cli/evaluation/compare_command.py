"""`consilience compare`: evaluations side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.evaluation.evaluate_command import listed
from consilience.frontends.cli.options import PATH, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from consilience.evals.comparison import Comparison, Side


@click.command()
@click.argument("outs", type=PATH, metavar="OUT1 OUT2...", nargs=-1, required=True)
@json_option
def compare(outs: tuple[Path, ...], as_json: bool) -> None:
    """Compare evaluations.

    Each OUT is a folder that `consilience evaluate` wrote; all are compared with the first. Only images that all of
    them decided count. Images are matched by their pixels, else by name and label.
    """
    from consilience.evals import compare as run
    from consilience.frontends.cli.terminal import console, print_json

    comparison, out = run(outs), console()
    if as_json:
        print_json(out, json.dumps(comparison.to_dict(), ensure_ascii=False))
        return
    out.print(_table(comparison), "", sep="\n")
    for number, side in enumerate(comparison.sides, 1):
        for sentence in _sentences(number, side):
            out.print(sentence)


def _table(comparison: Comparison) -> Table:
    from consilience.core.render.phrases import one_line, percent
    from consilience.evals.report.words import share
    from consilience.frontends.cli.panel_text import figures_table

    columns = ("Images", "Accuracy", "95 % interval", "ECE", "Settled", "Right of settled", "USD", "Against 1")
    table = figures_table("Evaluation", *columns)
    for number, side in enumerate(comparison.sides, 1):
        table.add_row(
            f"{number} {one_line(side.out)}",
            f"{comparison.n:,}",
            percent(side.accuracy),
            f"{percent(side.low)} to {percent(side.high)}",
            f"{side.ece:.3f}",
            share(side.settled.share),
            share(side.settled.accuracy),
            f"{side.cost_usd:.4f}",
            "" if side.difference is None else f"{100 * side.difference.difference:+.1f} points",
        )
    return table


def _sentences(number: int, side: Side) -> Iterator[str]:
    if side.difference is not None and side.change is not None:
        yield (
            f"Accuracy of {number} minus that of 1: {100 * side.difference.difference:+.1f} percentage points (95 % "
            f"interval {100 * side.difference.low:+.1f} to {100 * side.difference.high:+.1f}; McNemar's exact test: "
            f"p = {side.difference.p_value:.3g}). {side.change.changed:,} of {side.change.n:,} answers changed."
        )
        yield from _named(f"  {side.change.better:,} became right", side.change.better, side.better)
        yield from _named(f"  {side.change.worse:,} became wrong", side.change.worse, side.worse)
    yield from _named(
        f"{side.apart:,} images of {number} are not counted, because not all evaluations decided them",
        side.apart,
        side.apart_named,
    )


def _named(words: str, n: int, names: tuple[str, ...]) -> Iterator[str]:
    from consilience.core.render.phrases import one_line

    if n:
        yield one_line(f"{words}: {listed(names, n)}", 2000)
