"""`consilience suggest`: the few unlabelled images whose labels would help most, and learning from the answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import PATH, collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import Failure, complain_of, finish

if TYPE_CHECKING:
    from consilience.core.dataset import LabelledImage
    from consilience.core.settings.settings import Settings
    from consilience.core.task import Task
    from consilience.orchestrator.fitting.active_learning import Suggestion


@click.command()
@click.argument("folder", type=PATH, required=False, metavar="[FOLDER]")
@panel_option
@click.option("--number", default=10, show_default=True, type=click.IntRange(1, 400), help="How many images to pick.")
@click.option("--picture", type=PATH, metavar="FILE", help="Write the picked images on one numbered sheet, a PNG.")
@click.option(
    "--csv", "table", type=PATH, metavar="FILE", help="Write a table of the picked images; fill in its column 'label'."
)
@click.option("--labels", type=PATH, metavar="FILE", help="Learn the labels that were filled in in such a table.")
@click.option("--answer", is_flag=True, help="Ask for the labels in the terminal, and learn them.")
@json_option
@settings_options
def suggest(
    folder: Path | None,
    panel: Path,
    number: int,
    picture: Path | None,
    table: Path | None,
    labels: Path | None,
    answer: bool,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Find the images whose labels would help most.

    From the unlabelled images in FOLDER it picks those of which the agents are unsure, that are typical of many others,
    and that differ from what the panel knows and from each other. Labels are learned as by `consilience add`. Asking
    for a few, answering and asking again teaches more than asking for many at once.
    """
    from consilience.orchestrator.fitting.active_learning import suggest as chosen_from
    from consilience.orchestrator.panel.panel import Panel

    if (folder is None) == (labels is None):
        raise click.UsageError(
            "Give a FOLDER of images to pick from, or --labels FILE to learn from a table; not both."
        )
    settings = collected(settings_file, assignments)
    task = Panel.open(panel).task
    if labels is not None or folder is None:
        _learn(panel, _read(labels, task) if labels is not None else [], settings)
        return
    from consilience.frontends.cli.terminal import console, progress_on

    with progress_on(console(stderr=True)) as progress:
        suggested = chosen_from(panel, folder, number, settings=settings, progress=progress)
    complain_of(suggested.failed)
    if table is not None:
        _write(table, suggested.chosen)
    if picture is not None:
        _draw(picture, suggested.chosen, settings)
    _show(suggested.chosen, as_json)
    if answer:
        _learn(panel, _asked(suggested.chosen, task), settings)
    finish(len(suggested.chosen), len(suggested.failed))


def _show(chosen: Sequence[Suggestion], as_json: bool) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.terminal import console, print_json, table

    out = console()
    if as_json:
        for suggestion in chosen:
            print_json(out, json.dumps(suggestion.to_dict(), ensure_ascii=False))
        return
    rows = table("", "Image", "Could be", "Unsure", "Typical", "Distance")
    for place, suggestion in enumerate(chosen, start=1):
        likely = " or ".join(map(one_line, suggestion.likely))
        numbers = f"{suggestion.uncertainty:.2f}", f"{suggestion.typicality:.2f}", f"{suggestion.distance:.3f}"
        rows.add_row(str(place), one_line(str(suggestion.path)), likely, *numbers)
    out.print(rows)


def _draw(file: Path, chosen: Sequence[Suggestion], settings: Settings) -> None:
    import PIL.Image

    from consilience.core.images import load_image
    from consilience.core.render.contact_sheet import SheetCell, contact_sheet
    from consilience.core.render.phrases import one_line

    cells = [
        SheetCell(
            PIL.Image.fromarray(load_image(suggestion.path, settings.images).pixels), one_line(suggestion.path.name)
        )
        for suggestion in chosen
    ]
    file.write_bytes(contact_sheet("Which labels do these images have?", cells))


def _write(file: Path, chosen: Sequence[Suggestion]) -> None:
    with file.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label"])
        rows.writerows([str(suggestion.path.absolute()), ""] for suggestion in chosen)


def _read(file: Path, task: Task) -> list[LabelledImage]:
    """Return the rows with a label; relative paths are below the table's folder. Raises Failure: there are none."""
    from consilience.core.dataset import LabelledImage

    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            rows = csv.DictReader(stream)
            if not {"path", "label"} <= set(rows.fieldnames or ()):
                raise Failure(f"'{file}' has no columns 'path' and 'label'; write such a table with --csv")
            cells = [(rows.line_num, row["path"] or "", (row["label"] or "").strip()) for row in rows]
    except csv.Error as cause:
        raise Failure(f"'{file}' cannot be read as CSV: {cause}") from cause
    labelled = []
    for line, path, label in cells:
        if not label:
            continue
        if (known := task.find(label)) is None:
            raise Failure(
                f"line {line} of '{file}': the panel has no label '{label}'; its labels are {', '.join(task.names)}"
            )
        labelled.append(LabelledImage(file.parent / path, known))
    if not labelled:
        raise Failure(f"'{file}' has no row with a label; fill in the column 'label'")
    return labelled


def _asked(chosen: Sequence[Suggestion], task: Task) -> list[LabelledImage]:
    """Ask at the terminal and return the answers; Ctrl-D or Ctrl-C ends the questions and loses no answer."""
    from consilience.core.dataset import LabelledImage
    from consilience.core.render.phrases import one_line

    for place, name in enumerate(task.names, start=1):
        click.echo(f"  {place}  {one_line(name)}", err=True)
    click.echo("Answer with a label or its number. Enter alone skips the image, Ctrl-D ends.", err=True)
    answers: list[LabelledImage] = []
    for place, suggestion in enumerate(chosen, start=1):
        question = f"{place} of {len(chosen)}  {one_line(str(suggestion.path))}"
        try:
            while True:
                reply = click.prompt(question, default="", show_default=False, err=True).strip()
                label = _named(reply, task)
                if label is not None or not reply:
                    break
                click.echo(f"The panel has no label '{one_line(reply)}'.", err=True)
        except click.Abort:
            break
        if label is not None:
            answers.append(LabelledImage(suggestion.path, label))
    return answers


def _named(reply: str, task: Task) -> str | None:
    """Return a label by its name, else by its number from 1; None if there is none."""
    if (label := task.find(reply)) is not None:
        return label
    if reply.isascii() and reply.isdecimal() and 1 <= int(reply) <= len(task.names):
        return task.names[int(reply) - 1]
    return None


def _learn(panel: Path, labelled: Sequence[LabelledImage], settings: Settings) -> None:
    import consilience
    from consilience.core.render.phrases import counted
    from consilience.frontends.cli.terminal import console, progress_on

    if not labelled:
        return
    with progress_on(console(stderr=True)) as progress:
        report = consilience.add(panel, labelled, settings=settings, progress=progress)
    complain_of(report.failed)
    console(stderr=True).print(f"{counted(report.images.added, 'label')} learned")
    if report.failed:
        finish(report.images.added, len(report.failed))
