"""`consilience stress`: how a panel does as images get worse."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.asked_spending import ask_about_spending
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
@click.option("--out", required=True, type=PATH, metavar="DIR", help="Folder for the report, the figures and the rows.")
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
    """Measure a panel on images made worse.

    Noise, blur, exposure, JPEG, occlusion, rotation, scale and background, each in five strengths: every image is
    decided 41 times. SOURCE is a folder or a table, as for `consilience evaluate`. If it is interrupted, run the same
    command again: it continues where it stopped.
    """
    from consilience.evals import stress as run
    from consilience.frontends.cli.terminal import console, print_json, progress_on

    settings = collected(settings_file, assignments, seed=seed)
    ask_about_addresses(panel, settings)
    try:
        with progress_on(console(stderr=True)) as report:
            robustness = run(
                source,
                panel,
                out,
                settings=settings,
                sample=sample,
                limit=limit,
                renamed=renamed,
                confirm=partial(ask_about_spending, settings.policy, report),
                watch=lambda done, total, seen: report("deciding", done, total, seen),
            )
    except KeyboardInterrupt:
        complain("to continue", "run the same command again: the images that were decided are kept")
        raise
    name_problems(robustness.clean, of_leaks="the figures look better than they are, most of all for the clean images")
    if as_json:
        print_json(console(), json.dumps(robustness.to_dict(), ensure_ascii=False))
    else:
        _show(robustness)
    finish(robustness.clean.metrics.n, robustness.clean.metrics.errors)


def _show(robustness: Robustness) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.evals.robustness.robustness_page import REPORT
    from consilience.frontends.cli.terminal import console

    out = console()
    out.print(_table(robustness), "", robustness.answer(), sep="\n")
    out.print(f"Report: {one_line(str(robustness.out / REPORT))}", soft_wrap=True)


def _table(robustness: Robustness) -> Table:
    from consilience.core.render.phrases import one_line
    from consilience.evals.report.words import decimals, share
    from consilience.frontends.cli.panel_text import figures_table

    agents = [figures.who for figures in robustness.clean.metrics.agents]
    fixed = ("Strength", "Right", "ECE", "Referred", "Right of settled", "Settled and wrong", "Novelty")
    table = figures_table("Images", *fixed, *(one_line(who) for who in agents))
    for condition in robustness.conditions:
        table.add_row(
            condition.corruption,
            str(condition.strength or ""),
            share(condition.accuracy),
            decimals(condition.ece, 3),
            share(condition.referred),
            share(condition.settled.accuracy),
            share(condition.settled_wrong),
            decimals(condition.novelty, 2),
            *(share(condition.agents[who]["accuracy"]) if who in condition.agents else "–" for who in agents),
        )
    return table
