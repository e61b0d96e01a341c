"""`consilience history`: the diagnoses that were given; and how commands keep theirs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.core.errors import HistoryError
from consilience.frontends.cli.options import collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import complain

if TYPE_CHECKING:
    from consilience.core.diagnosis import Diagnosis
    from consilience.core.settings.settings import HistorySettings
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History, StoredDiagnosis

DIAGNOSES_SHOWN = 50
"""Diagnoses that are listed, unless --limit says otherwise."""

COLUMNS = ("id", "when", "source", "label", "probability", "verdict", "channel", "person", "feedback")


@contextmanager
def keeper(panel: Path, settings: HistorySettings) -> Iterator[Callable[[Diagnosis], str | None]]:
    """Keeps a diagnosis and returns its id; None if it is not to be kept, or cannot be: that is said once, and no more.

    A diagnosis is never lost because it could not be kept.
    """
    if not settings.keep:
        yield lambda _: None
        return
    from getpass import getuser

    from consilience.orchestrator.feedback.history import History

    history: History | None = None
    try:
        history = History.open(panel, settings)
        person = getuser()
    except HistoryError as cause:
        complain("not kept", f"{cause}; --no-history does without")
    except (KeyError, OSError):  # nobody has this number
        person = ""

    def keep(diagnosis: Diagnosis) -> str | None:
        nonlocal history
        if history is None:
            return None
        try:
            return history.keep(diagnosis, channel="command", person=person).id
        except HistoryError as cause:
            complain("not kept", f"this diagnosis and those after it: {cause}")
            history.close()
            history = None
            return None

    try:
        yield keep
    finally:
        if history is not None:
            history.close()


@click.command()
@click.argument("id", required=False)
@panel_option
@click.option("--label", help="Only what was diagnosed as this.")
@click.option("--verdict", type=click.Choice(["confident", "refer"]), help="Only what was settled, or referred.")
@click.option("--person", help="Only what this person asked for.")
@click.option("--channel", help="Only what came this way: python, command, chat, web, slack.")
@click.option("--since", type=click.DateTime(), help="From this day or time on.")
@click.option("--until", type=click.DateTime(), help="Before this day or time.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"The newest N; listed are {DIAGNOSES_SHOWN} otherwise.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of text.")
@click.option("--delete", is_flag=True, help="Delete all that is selected; asks first.")
@click.option("--yes", is_flag=True, help="With --delete: do not ask.")
@json_option
@settings_options
def history(
    id: str | None,
    panel: Path,
    label: str | None,
    verdict: Any,
    person: str | None,
    channel: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    as_csv: bool,
    delete: bool,
    yes: bool,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """List, show, export or delete the diagnoses that were given, the newest first.

    With an ID, one in detail. --json prints a line each, with the whole record; --csv the main columns.
    """
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History

    if yes and not delete:
        raise click.UsageError("--yes goes with --delete")
    settings = collected(settings_file, assignments)
    with History.open(panel, settings.history) as kept:
        if id is not None:
            found: Iterable[StoredDiagnosis] = [kept.get(id)]
        else:
            is_listed = not (as_json or as_csv or delete)
            found = kept.find(
                label=label,
                verdict=verdict,
                person=person,
                channel=channel,
                since=since,
                until=until,
                limit=limit or (DIAGNOSES_SHOWN if is_listed else None),
            )
        feedbacks = Feedbacks(kept, settings.learning)
        if delete:
            _delete(kept, [one.id for one in found], yes)
        elif as_json:
            for one in found:
                said = [word.to_dict() for word in feedbacks.of(one.id)]
                click.echo(json.dumps({**one.to_dict(), "feedback": said}))
        elif as_csv:
            _print_csv(found, feedbacks)
        elif id is not None:
            _show(kept.get(id), feedbacks)
        else:
            _list(list(found), kept.count(), feedbacks)


def _delete(history: History, ids: list[str], yes: bool) -> None:
    if ids and not yes:
        click.confirm(f"Delete {len(ids):,} diagnoses and what was said of them?", abort=True, err=True)
    click.echo(f"{history.delete(ids):,} diagnoses deleted")


def _row(kept: StoredDiagnosis, feedbacks: Feedbacks) -> dict[str, str]:
    diagnosis = kept.diagnosis
    said = "; ".join(f"{one.person or 'unknown'}: {one.label} ({one.status})" for one in feedbacks.of(kept.id))
    values = (
        kept.id,
        kept.when.isoformat(timespec="seconds"),
        diagnosis.source,
        diagnosis.label,
        f"{diagnosis.probability:.4f}",
        diagnosis.verdict,
        kept.channel,
        kept.person,
        said,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _print_csv(found: Iterable[StoredDiagnosis], feedbacks: Feedbacks) -> None:
    for lines in (iter([COLUMNS]), (_row(one, feedbacks).values() for one in found)):
        for line in lines:
            text = io.StringIO()
            csv.writer(text).writerow([_no_formula(str(one)) for one in line])
            click.echo(text.getvalue().encode("utf-8", "backslashreplace"), nl=False)


def _no_formula(text: str) -> str:
    """A spreadsheet would run what begins like a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _show(kept: StoredDiagnosis, feedbacks: Feedbacks) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.diagnosis_text import detail_of
    from consilience.frontends.cli.terminal import console

    out = console()
    out.print(detail_of(kept.diagnosis), "", sep="\n")
    asked = f"{kept.when:%Y-%m-%d %H:%M} UTC, {kept.channel}, {kept.person or 'unknown'}"
    out.print(one_line(f"{kept.id}: {asked}"))
    for one in feedbacks.of(kept.id):
        out.print(one_line(f"{one.person or 'unknown'}: {one.label} ({one.status})"))


def _list(found: list[StoredDiagnosis], count: int, feedbacks: Feedbacks) -> None:
    from consilience.core.render.phrases import one_line, percent, source_name
    from consilience.frontends.cli.terminal import console, table

    out = console()
    listed = table("Id", "When (UTC)", "Image", "Label", "Probability", "Verdict", "Who", "Said of it")
    for one in found:
        diagnosis = one.diagnosis
        listed.add_row(
            one.id,
            f"{one.when:%Y-%m-%d %H:%M}",
            source_name(diagnosis.source),
            one_line(diagnosis.label),
            percent(diagnosis.probability),
            diagnosis.verdict,
            one_line(" ".join(filter(None, (one.channel, one.person)))),
            one_line(_row(one, feedbacks)["feedback"]),
        )
    if found:
        out.print(listed)
    click.echo(f"{len(found):,} of {count:,} diagnoses", err=True)
