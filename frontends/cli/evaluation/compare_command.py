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
    """Compare evaluations with the first one.

    Each OUT is a folder that `evaluate` wrote. Only images that all of them decided count; an image is the same if its
    pixels are, or else its name and label.
    """
    from consilience.evals import compare as run
    from consilience.frontends.cli.terminal import console, print_json

    found, out = run(outs), console()
    if as_json:
        print_json(out, json.dumps(found.to_dict(), ensure_ascii=False))
        return
    out.print(_table(found), "", sep="\n")
    for number, side in enumerate(found.sides, 1):
        for sentence in _sentences(number, side):
            out.print(sentence)


def _table(found: Comparison) -> Table:
    from consilience.core.render.phrases import one_line, percent
    from consilience.evals.report.words import share
    from consilience.frontends.cli.panel_text import figures_table

    columns = ("Images", "Accuracy", "95 % interval", "ECE", "Settled", "Right of settled", "USD", "To the first")
    table = figures_table("Evaluation", *columns)
    for number, one in enumerate(found.sides, 1):
        table.add_row(
            f"{number} {one_line(one.out)}",
            f"{found.n:,}",
            percent(one.accuracy),
            f"{percent(one.low)} to {percent(one.high)}",
            f"{one.ece:.3f}",
            share(one.settled.share),
            share(one.settled.accuracy),
            f"{one.cost_usd:.4f}",
            "" if one.difference is None else f"{100 * one.difference.difference:+.1f} points",
        )
    return table


def _sentences(number: int, side: Side) -> Iterator[str]:
    if side.difference is not None and side.change is not None:
        yield (
            f"{number} less 1: {100 * side.difference.difference:+.1f} points ({100 * side.difference.low:+.1f} to "
            f"{100 * side.difference.high:+.1f}; McNemar's exact test: p = {side.difference.p_value:.3g}). Of "
            f"{side.change.n:,} images {side.change.changed:,} are called otherwise"
        )
        yield from _named(f"  {side.change.better:,} for better", side.change.better, side.better)
        yield from _named(f"  {side.change.worse:,} for worse", side.change.worse, side.worse)
    yield from _named(
        f"{side.apart:,} images of {number} count nowhere: not all decided them", side.apart, side.apart_named
    )


def _named(words: str, n: int, names: tuple[str, ...]) -> Iterator[str]:
    from consilience.core.render.phrases import one_line

    if n:
        yield one_line(f"{words}: {listed(names, n)}", 2000)
