"""`consilience learn`, `learned` and `undo`: a panel learns from feedback."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import complain, finish

if TYPE_CHECKING:
    from consilience.orchestrator.feedback.learned_changes import LearnedChange


@click.command()
@panel_option
@json_option
@settings_options
def learn(panel: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Teach a panel the feedback that counts.

    The images join the panel's memory under the labels that people gave, the agents learn from them, and what the
    agents had answered changes their calibration and trust. All of it is one change; `consilience undo` takes it back.
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
        console().print(_words(report.change) if report.change is not None else _nothing(report.waiting, panel))
    finish(0 if report.left_out and report.change is None else 1, len(report.left_out))


@click.command()
@panel_option
@json_option
@settings_options
def learned(panel: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """List what a panel learned from feedback."""
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.orchestrator.feedback.learning import changes as changes_of

    changes = changes_of(panel, settings=collected(settings_file, assignments))
    if as_json:
        print_json(console(), json.dumps([change.to_dict() for change in changes], ensure_ascii=False))
        return
    for change in changes:
        undone = f"; undone {change.undone:%Y-%m-%d %H:%M}" if change.undone is not None else ""
        console().print(f"{change.when:%Y-%m-%d %H:%M}  {_words(change)}{undone}", soft_wrap=True)
    if not changes:
        click.echo("The panel has not learned from feedback yet.")


@click.command()
@click.argument("number", type=click.IntRange(min=1))
@panel_option
@settings_options
def undo(number: int, panel: Path, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Undo something that a panel learned.

    NUMBER is the number of the change in `consilience learned`.
    """
    from consilience.core.render.phrases import counted
    from consilience.orchestrator.feedback.learning import undo as take_back

    change = take_back(panel, number, settings=collected(settings_file, assignments))
    click.echo(f"Change {number} is undone: {counted(len(change.images))} left the panel's memory.")


def _nothing(waiting: int, panel: Path) -> str:
    """Return that there is nothing to learn, and what to do where feedback waits for review."""
    from consilience.core.render.phrases import counted

    if not waiting:
        return "Nothing to learn: no new feedback counts."
    return (
        f"Nothing to learn yet: the feedback on {counted(waiting, 'diagnosis')} waits for review. Review it: "
        f"consilience review --panel {shlex.quote(str(panel))}"
    )


def _words(change: LearnedChange) -> str:
    from consilience.core.render.phrases import counted, one_line

    counts = Counter(label for _, label in change.images)
    labels = ", ".join(f"{one_line(label)} {count}" for label, count in counts.items())
    return one_line(
        f"Change {change.number}: {counted(len(change.images))} joined the panel's memory ({labels}); the agents' "
        f"trust was measured on {change.judged} of them"
    )
