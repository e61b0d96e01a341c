"""`consilience learn`, `learned` and `undo`: a panel learns from feedback."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import complain, finish

if TYPE_CHECKING:
    from consilience.orchestrator.feedback.learning import LearnedChange


@click.command()
@panel_option
@json_option
@settings_options
def learn(panel: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Learn all feedback that counts, in one change of the panel.

    The images join the memory under their labels, the agents learn from them, and what the agents had said of them
    changes calibration and trust. `consilience undo` takes a change back.
    """
    from consilience.frontends.cli.terminal import console, print_json, progress_on
    from consilience.orchestrator.feedback.learning import learn as learn_feedback

    with progress_on(console(stderr=True)) as progress:
        report = learn_feedback(panel, settings=collected(settings_file, assignments), progress=progress)
    for id, reason in report.left_out.items():
        complain("left out", f"{id}: {reason}")
    if as_json:
        change = report.change and report.change.to_dict()
        print_json(console(), json.dumps({"change": change, "left_out": report.left_out}, ensure_ascii=False))
    else:
        click.echo(_words(report.change) if report.change is not None else "nothing to learn")
    finish(0 if report.left_out and report.change is None else 1, len(report.left_out))


@click.command()
@panel_option
@json_option
@settings_options
def learned(panel: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """List what a panel learned from feedback, the oldest first."""
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.orchestrator.feedback.learning import changes

    found = changes(panel, settings=collected(settings_file, assignments))
    if as_json:
        print_json(console(), json.dumps([one.to_dict() for one in found], ensure_ascii=False))
        return
    for one in found:
        undone = f"; undone {one.undone:%Y-%m-%d %H:%M}" if one.undone is not None else ""
        click.echo(f"{one.when:%Y-%m-%d %H:%M}  {_words(one)}{undone}")
    if not found:
        click.echo("nothing was learned")


@click.command()
@click.argument("number", type=click.IntRange(min=1))
@panel_option
@settings_options
def undo(number: int, panel: Path, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Take back the change NUMBER, as `consilience learned` lists it."""
    from consilience.orchestrator.feedback.learning import undo as take_back

    change = take_back(panel, number, settings=collected(settings_file, assignments))
    click.echo(f"change {number} undone: {len(change.images)} images left the memory")


def _words(change: LearnedChange) -> str:
    from consilience.core.render.phrases import one_line

    counts = Counter(label for _, label in change.images)
    labels = ", ".join(f"{label} {count}" for label, count in counts.items())
    return one_line(
        f"change {change.number}: {len(change.images)} images joined the memory ({labels}), "
        f"{change.judged} judged the agents"
    )
