"""`consilience feedback` and `review`: what people say of diagnoses, and whether it counts."""

from __future__ import annotations

import shlex
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

person_option = click.option("--person", metavar="NAME", help="Your name; default: the name you are logged in by.")


@click.command()
@click.argument("id")
@click.option("--right", is_flag=True, help="The diagnosed label is right.")
@click.option("--label", help="The diagnosis is wrong, and this is the right label.")
@click.option("--none-of-these", is_flag=True, help="The image shows none of the panel's labels.")
@person_option
@panel_option
@settings_options
def feedback(
    id: str,
    right: bool,
    label: str | None,
    none_of_these: bool,
    person: str | None,
    panel: Path,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Say whether a diagnosis is right.

    ID is what `consilience diagnose` and `consilience history` print, or its beginning. The setting learning.review
    decides whether feedback counts at once or waits for `consilience review`. `consilience learn` teaches the panel
    what counts.
    """
    from consilience.core.render.phrases import one_line
    from consilience.core.task import NONE_OF_THESE
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History

    if [right, label is not None, none_of_these].count(True) != 1:
        raise click.UsageError("Give one of --right, --label LABEL and --none-of-these.")
    settings = collected(settings_file, assignments)
    with History.open(panel, settings.history) as history:
        answer = NONE_OF_THESE if none_of_these else label
        vote = Feedbacks(history, settings.learning).give(history.whole_id(id), _name(person), answer)
    at = f"--panel {shlex.quote(str(panel))}"
    if vote.status == "counts":
        click.echo(one_line(f"Saved: the image shows {vote.label}. Teach the panel: consilience learn {at}"))
    else:
        click.echo(one_line(f"Saved; waiting for review. Review it: consilience review {at}"))


@click.command()
@person_option
@panel_option
@settings_options
def review(person: str | None, panel: Path, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Accept or refuse feedback that waits for review.

    Shows one diagnosis after another, with a picture of the image. Answer with the number or the name of the right
    label, 0 if it is none of them, r to refuse the feedback, s to skip, q to stop. `consilience learn` teaches the
    panel what was accepted.
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
    next_step = f". Teach the panel: consilience learn --panel {shlex.quote(str(panel))}" if accepted else "."
    click.echo(f"{accepted} accepted, {refused} refused, {len(cases) - accepted - refused} still waiting" + next_step)


def _decided(case: VotedDiagnosis, feedbacks: Feedbacks, reviewer: str) -> str:
    """Ask until an answer can be used, and return "accepted", "refused", "skipped" or "stop"."""
    from consilience.core.task import NONE_OF_THESE

    while True:
        try:
            answer = click.prompt(
                "Right label (number or name), 0 for none of these, r to refuse, s to skip, q to stop",
                default="s",
                err=True,
            ).strip()
        except click.Abort:  # the input has ended, or Ctrl-C: what was accepted until now counts
            answer = "q"
        if answer in ("s", "q"):
            return "stop" if answer == "q" else "skipped"
        try:
            if answer == "r":
                feedbacks.refuse(case.diagnosis)
                return "refused"
            answers = {"0": NONE_OF_THESE} | {str(number): label for number, label in enumerate(case.labels, 1)}
            feedbacks.accept(case.diagnosis, answers.get(answer, answer), reviewer)
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
        out.print(f"Picture (deleted when the review ends): {picture}", soft_wrap=True)
    for number, label in enumerate(case.labels, 1):
        people = ", ".join(vote.person or "unknown" for vote in case.votes if vote.label == label)
        out.print(one_line(f"{number} {label} (said by {people})"), soft_wrap=True)


def _name(person: str | None) -> str:
    """Return the given name, or that of whoever is logged in; empty if neither is known."""
    from getpass import getuser

    try:
        return person if person is not None else getuser()
    except (KeyError, OSError):
        return ""
