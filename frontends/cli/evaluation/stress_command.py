"""`consilience stress`: how a panel does as images get worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.evaluation.evaluate_command import name_problems
from consilience.frontends.cli.options import (
    PATH,
    choice_options,
    collected,
    json_option,
    panel_option,
    settings_options,
)
from consilience.frontends.cli.outcome import complain, finish

if TYPE_CHECKING:
    from rich.table import Table

    from consilience.evals.robustness.robustness_metrics import Robustness


@click.command()
@click.argument("source", type=PATH, metavar="SOURCE")
@panel_option
@click.option("--out", required=True, type=PATH, metavar="DIR", help="Where rows, figures and report are written.")
@choice_options
@json_option
@settings_options
def stress(
    source: Path,
    panel: Path,
    out: Path,
    sample: int | None,
    limit: int | None,
    seed: int | None,
    renamed: dict[str, str],
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Evaluate a panel on images made worse.

    Noise, blur, exposure, JPEG, occlusion, rotation, scale and background, each in five strengths: every image is
    decided 41 times. SOURCE is a folder or a manifest as for `evaluate`. The same command again goes on where it was.
    """
    from consilience.evals import stress as run
    from consilience.frontends.cli.terminal import console, print_json, progress_on

    settings = collected(settings_file, assignments, seed=seed)
    try:
        with progress_on(console(stderr=True)) as report:
            found = run(
                source,
                panel,
                out,
                settings=settings,
                sample=sample,
                limit=limit,
                renamed=renamed,
                watch=lambda done, total, seen: report("deciding", done, total, seen),
            )
    except KeyboardInterrupt:
        complain("to go on", "run the same command again; what was decided is kept")
        raise
    name_problems(found.clean, of_leaks="they flatter the figures, most of all those of the clean images")
    if as_json:
        print_json(console(), json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        _show(found)
    finish(found.clean.metrics.n, found.clean.metrics.errors)


def _show(found: Robustness) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.evals.robustness.robustness_page import REPORT
    from consilience.frontends.cli.terminal import console

    out = console()
    out.print(_table(found), "", found.answer(), sep="\n")
    out.print(f"Written to '{one_line(str(found.out / REPORT))}'")


def _table(found: Robustness) -> Table:
    from consilience.core.render.phrases import one_line
    from consilience.evals.report.words import decimals, share
    from consilience.frontends.cli.panel_text import figures_table

    agents = [one.who for one in found.clean.metrics.agents]
    fixed = ("Strength", "Right", "ECE", "Referred", "Right of settled", "Settled and wrong", "Novelty")
    table = figures_table("Images", *fixed, *(one_line(who) for who in agents))
    for one in found.conditions:
        table.add_row(
            one.corruption,
            str(one.strength or ""),
            share(one.accuracy),
            decimals(one.ece, 3),
            share(one.referred),
            share(one.settled.accuracy),
            share(one.settled_wrong),
            decimals(one.novelty, 2),
            *(share(one.agents[who]["accuracy"]) if who in one.agents else "–" for who in agents),
        )
    return table
