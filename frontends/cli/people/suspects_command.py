"""`consilience suspects`: the labelled images whose labels are perhaps wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import PATH, collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import Failure

if TYPE_CHECKING:
    from consilience.orchestrator.label_errors.suspects import Suspects


@click.command()
@panel_option
@click.option("--number", default=40, show_default=True, type=click.IntRange(min=1), help="How many to show at most.")
@click.option("--html", "page", type=PATH, metavar="FILE", help="Write a page with their pictures.")
@click.option(
    "--moves",
    type=PATH,
    metavar="FILE",
    help="Write a table (.csv) of moves for `consilience relabel`.",
)
@click.option(
    "--manifest", type=PATH, metavar="FILE", help="Write all images as a manifest (.csv) with the proposed labels."
)
@json_option
@settings_options
def suspects(
    panel: Path,
    number: int,
    page: Path | None,
    moves: Path | None,
    manifest: Path | None,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Find labelled images whose labels are perhaps wrong.

    An image is listed where agents that had not learned from it name another label than the folder, where a copy of it
    has another label, or where it is unlike all others. The label that the panel believes least comes first. No file
    is touched: look at each picture, then move what is wrong with `consilience relabel`.
    """
    from consilience.orchestrator.label_errors.suspects import suspects as suspected_in

    suspected = suspected_in(panel, number, settings=collected(settings_file, assignments))
    try:
        _write(suspected, page, moves, manifest)
    except OSError as cause:
        raise Failure(f"'{cause.filename}' cannot be written ({cause.strerror}); name another file") from cause
    _show(suspected, as_json)


def _write(suspected: Suspects, page: Path | None, moves: Path | None, manifest: Path | None) -> None:
    from consilience.evals.report.suspects_page import write_suspects_page
    from consilience.orchestrator.label_errors.suspects_tables import write_manifest, write_moves

    if page is not None:
        write_suspects_page(suspected, page)
    if moves is not None:
        write_moves(suspected, moves)
    if manifest is not None:
        write_manifest(suspected, manifest)


def _show(suspected: Suspects, as_json: bool) -> None:
    from consilience.core.render.phrases import counted, one_line, percent
    from consilience.core.render.tables import NOTHING
    from consilience.evals.report.suspects_page import suspicion_words
    from consilience.frontends.cli.terminal import console, print_json, table

    out = console()
    if as_json:
        for suspect in suspected.shown:
            print_json(out, json.dumps(suspected.to_dict(suspect), ensure_ascii=False))
        return
    rows = table("", "Image", "Label", "Believed", "Why")
    for place, suspect in enumerate(suspected.shown, start=1):
        believed = NOTHING if suspect.given_probability is None else percent(suspect.given_probability)
        why = "; ".join(suspicion_words(suspected, suspect))
        rows.add_row(str(place), one_line(suspect.source), one_line(suspect.given), believed, why)
    if suspected.shown:
        out.print(rows)
    what = "label" if suspected.total == 1 else "labels"
    shown = f"; {len(suspected.shown)} shown (--number)" if suspected.total > len(suspected.shown) else ""
    out.print(f"{suspected.total:,} of {len(suspected.panel.labelled_images):,} {what} perhaps wrong{shown}.")
    if suspected.unjudged:
        out.print(f"{counted(suspected.unjudged)} could not be judged; if they came after the fit, fit again.")
