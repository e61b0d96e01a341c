"""`consilience feedback` and `review`: what people say of diagnoses, and whether it counts."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from consilience.core.errors import HistoryError
from consilience.frontends.cli.options import collected, panel_option, settings_options
from consilience.frontends.cli.outcome import complain

if TYPE_CHECKING:
    from consilience.orchestrator.feedback.feedback import Feedbacks, VotedDiagnosis
    from consilience.orchestrator.feedback.history import StoredDiagnosis

person_option = click.option(
    "--person", metavar="NAME", help="Who says so; default: the name of whoever is logged in here."
)


@click.command()
@click.argument("id")
@click.option("--right", is_flag=True, help="What was diagnosed is right.")
@click.option("--label", help="It is wrong: what the image shows.")
@person_option
@panel_option
@settings_options
def feedback(
    id: str,
    right: bool,
    label: str | None,
    person: str | None,
    panel: Path,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Say whether the diagnosis ID is right, or what the image shows.

    Whether that counts at once is the setting learning.review; `consilience learn` learns what counts.
    """
    from consilience.core.render.phrases import one_line
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History

    if right == (label is not None):
        raise click.UsageError("say either --right or --label LABEL")
    settings = collected(settings_file, assignments)
    with History.open(panel, settings.history) as history:
        said = Feedbacks(history, settings.learning).give(id, _name(person), label)
    remark = {
        "counts": "it counts: 'consilience learn' learns it",
        "waiting": "it waits: 'consilience review' lists it",
    }
    click.echo(one_line(f"{said.label}, says {said.person or 'unknown'}: {remark[said.status]}"))


@click.command()
@person_option
@panel_option
@settings_options
def review(person: str | None, panel: Path, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Decide what of the feedback that waits is to be believed.

    Shows one diagnosis after another, and a picture of the image. Answer with the number or the name of a label, r to
    refuse all that was said, s to skip, q to stop. What is accepted counts: `consilience learn` learns it.
    """
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History

    settings, accepted, refused = collected(settings_file, assignments), 0, 0
    with History.open(panel, settings.history) as history, TemporaryDirectory(prefix="consilience-review-") as folder:
        feedbacks = Feedbacks(history, settings.learning)
        cases = feedbacks.waiting()
        for number, case in enumerate(cases, 1):
            _show(history.get(case.diagnosis), case, Path(folder), f"{number} of {len(cases)}")
            answer = _decided(case, feedbacks, _name(person))
            accepted, refused = accepted + (answer == "accepted"), refused + (answer == "refused")
            if answer == "stop":
                break
    click.echo(f"{accepted} accepted, {refused} refused, {len(cases) - accepted - refused} wait")


def _decided(case: VotedDiagnosis, feedbacks: Feedbacks, reviewer: str) -> str:
    """What became of a case: "accepted", "refused", "skipped" or "stop"; asks until an answer can be used."""
    while True:
        try:
            answer = click.prompt("Label, r, s or q", default="s", err=True).strip()
        except click.Abort:  # the input has ended, or Ctrl-C: what was accepted until now counts
            answer = "q"
        if answer in ("s", "q"):
            return "stop" if answer == "q" else "skipped"
        try:
            if answer == "r":
                feedbacks.refuse(case.diagnosis)
                return "refused"
            chosen = dict(enumerate(case.labels, 1)).get(int(answer)) if answer.isdecimal() else answer
            feedbacks.accept(case.diagnosis, chosen or answer, reviewer)
        except HistoryError as error:
            complain("error", str(error))
        else:
            return "accepted"


def _show(kept: StoredDiagnosis, case: VotedDiagnosis, folder: Path, where: str) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.diagnosis_text import line_of
    from consilience.frontends.cli.terminal import console

    out = console()
    out.print("", f"{where}: {'disputed' if case.is_disputed else 'waiting'}", sep="\n", style="bold")
    out.print(line_of(kept.diagnosis), soft_wrap=True)
    if kept.thumbnail is not None:
        picture = folder / f"{kept.id}.jpg"
        picture.write_bytes(kept.thumbnail)
        out.print(f"picture, until the review ends: {picture}", soft_wrap=True)
    for number, label in enumerate(case.labels, 1):
        people = ", ".join(one.person or "unknown" for one in case.votes if one.label == label)
        out.print(one_line(f"{number} {label}, says {people}"), soft_wrap=True)


def _name(person: str | None) -> str:
    """The given name, or that of whoever is logged in; empty if neither is known."""
    from getpass import getuser

    try:
        return person if person is not None else getuser()
    except (KeyError, OSError):
        return ""
