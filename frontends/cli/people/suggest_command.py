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
@click.option("--number", default=10, show_default=True, type=click.IntRange(1, 400), help="How many to ask for.")
@click.option("--picture", type=PATH, metavar="FILE", help="Write them side by side as a PNG, numbered.")
@click.option(
    "--csv", "table", type=PATH, metavar="FILE", help="Write 'path,label' with empty labels, to be filled in."
)
@click.option("--labels", type=PATH, metavar="FILE", help="Learn from such a table instead; empty labels are left out.")
@click.option("--answer", is_flag=True, help="Ask for the labels here, and learn from them.")
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
    """Ask for the labels that would help a panel most.

    Of the unlabelled images in FOLDER those are chosen of which its agents are unsure, that are like many others, but
    far from all that it knows and from each other. Labels are learned as by `add`: at once by the agents, while
    calibration and trust stay as `fit` measured them. Ask for few, answer, ask again: that beats asking for many at
    once.
    """
    from consilience.orchestrator.fitting.active_learning import suggest as chosen_from
    from consilience.orchestrator.panel.panel import Panel

    if (folder is None) == (labels is None):
        raise click.UsageError("Give FOLDER to ask for labels, or --labels FILE to learn from them.")
    settings = collected(settings_file, assignments)
    task = Panel.open(panel).task
    if labels is not None or folder is None:
        _learn(panel, _read(labels, task) if labels is not None else [], settings)
        return
    from consilience.frontends.cli.terminal import console, progress_on

    with progress_on(console(stderr=True)) as progress:
        found = chosen_from(panel, folder, number, settings=settings, progress=progress)
    complain_of(found.failed)
    if table is not None:
        _write(table, found.chosen)
    if picture is not None:
        _draw(picture, found.chosen, settings)
    _show(found.chosen, as_json)
    if answer:
        _learn(panel, _asked(found.chosen, task), settings)
    finish(len(found.chosen), len(found.failed))


def _show(chosen: Sequence[Suggestion], as_json: bool) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.terminal import console, print_json, table

    out = console()
    if as_json:
        for one in chosen:
            print_json(out, json.dumps(one.to_dict(), ensure_ascii=False))
        return
    rows = table("", "image", "could be", "unsure", "typical", "distance")
    for place, one in enumerate(chosen, start=1):
        likely = " or ".join(map(one_line, one.likely))
        numbers = f"{one.uncertainty:.2f}", f"{one.typicality:.2f}", f"{one.distance:.3f}"
        rows.add_row(str(place), one_line(str(one.path)), likely, *numbers)
    out.print(rows)


def _draw(file: Path, chosen: Sequence[Suggestion], settings: Settings) -> None:
    import PIL.Image

    from consilience.core.images import load_image
    from consilience.core.render.contact_sheet import SheetCell, contact_sheet
    from consilience.core.render.phrases import one_line

    cells = [
        SheetCell(PIL.Image.fromarray(load_image(one.path, settings.images).pixels), one_line(one.path.name))
        for one in chosen
    ]
    file.write_bytes(contact_sheet("Which labels do these images have?", cells))


def _write(file: Path, chosen: Sequence[Suggestion]) -> None:
    with file.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label"])
        rows.writerows([str(one.path.absolute()), ""] for one in chosen)


def _read(file: Path, task: Task) -> list[LabelledImage]:
    """The rows with a label; a path that is not absolute is below the table's folder."""
    from consilience.core.dataset import LabelledImage

    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            rows = csv.DictReader(stream)
            if not {"path", "label"} <= set(rows.fieldnames or ()):
                raise Failure(f"'{file}' is no table with the columns path and label")
            given = [(rows.line_num, row["path"] or "", (row["label"] or "").strip()) for row in rows]
    except csv.Error as cause:
        raise Failure(f"'{file}' cannot be read as CSV: {cause}") from cause
    labelled = []
    for line, path, label in given:
        if not label:
            continue
        if (known := task.find(label)) is None:
            raise Failure(f"line {line} of '{file}': the panel has no label '{label}'; it has {', '.join(task.names)}")
        labelled.append(LabelledImage(file.parent / path, known))
    if not labelled:
        raise Failure(f"'{file}' has no row with a label; fill in the column 'label'")
    return labelled


def _asked(chosen: Sequence[Suggestion], task: Task) -> list[LabelledImage]:
    """The answers of whoever sits at the terminal; Ctrl-D or Ctrl-C ends the questions and loses no answer."""
    from consilience.core.dataset import LabelledImage
    from consilience.core.render.phrases import one_line

    for place, name in enumerate(task.names, start=1):
        click.echo(f"  {place}  {one_line(name)}", err=True)
    click.echo("Answer with a label or its number; nothing: leave the image out; Ctrl-D: enough.", err=True)
    answers: list[LabelledImage] = []
    for place, one in enumerate(chosen, start=1):
        question = f"{place} of {len(chosen)}  {one_line(str(one.path))}"
        try:
            while True:
                said = click.prompt(question, default="", show_default=False, err=True).strip()
                label = _named(said, task)
                if label is not None or not said:
                    break
                click.echo(f"there is no label '{one_line(said)}'", err=True)
        except click.Abort:
            break
        if label is not None:
            answers.append(LabelledImage(one.path, label))
    return answers


def _named(said: str, task: Task) -> str | None:
    """A label by its name, else by its number from 1."""
    if (label := task.find(said)) is not None:
        return label
    if said.isascii() and said.isdecimal() and 1 <= int(said) <= len(task.names):
        return task.names[int(said) - 1]
    return None


def _learn(panel: Path, labelled: Sequence[LabelledImage], settings: Settings) -> None:
    import consilience
    from consilience.frontends.cli.terminal import console, progress_on

    if not labelled:
        return
    with progress_on(console(stderr=True)) as progress:
        report = consilience.add(panel, labelled, settings=settings, progress=progress)
    complain_of(report.failed)
    console(stderr=True).print(f"{report.images.added:,} labels learned")
    if report.failed:
        finish(report.images.added, len(report.failed))
