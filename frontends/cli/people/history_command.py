"""`consilience history`: the diagnoses that were given; and how commands keep theirs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
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
    from consilience.orchestrator.shift.shift_reference import ShiftReference

DIAGNOSES_SHOWN = 50
"""Diagnoses that are listed, unless --limit says otherwise."""

CHANNEL = "command"
"""Where the diagnoses of commands are asked for."""

COLUMNS = ("id", "when", "source", "label", "probability", "verdict", "headline", "channel", "person", "feedback")


class Keeper:
    """Saves the diagnoses of a command, and watches the source of the images.

    A diagnosis is never lost because it could not be kept. Args: history: None: nothing is saved or watched.
    """

    def __init__(self, history: History | None, person: str) -> None:
        self._history, self._person = history, person

    def keep(self, diagnosis: Diagnosis) -> str | None:
        """Save a diagnosis and return its id; None if it is not saved."""
        if self._history is None:
            return None
        try:
            return self._history.keep(diagnosis, channel=CHANNEL, person=self._person).id
        except HistoryError as cause:
            self._give_up(cause)
            return None

    def alarm(self, diagnosis: Diagnosis, reference: ShiftReference, place: str) -> bool:
        """Return whether the images of a source differ from the labelled ones, this one counted with them."""
        from consilience.orchestrator.feedback.streams import Streams, source_of

        if self._history is None:
            return False
        try:
            streams = Streams(self._history.database)
            return streams.observe(reference, [(diagnosis, source_of(diagnosis, CHANNEL, place))])[0]
        except HistoryError as cause:
            self._give_up(cause)
            return False

    def _give_up(self, cause: HistoryError) -> None:
        complain("not saved", f"this diagnosis and those after it: {cause}")
        self.close()

    def close(self) -> None:
        """Close the history. A second call does nothing."""
        if self._history is not None:
            self._history.close()
            self._history = None


@contextmanager
def keeper(panel: Path, settings: HistorySettings) -> Iterator[Keeper]:
    """Open the history of a panel for the diagnoses of a command; one that cannot be used is complained of."""
    if not settings.keep:
        yield Keeper(None, "")
        return
    from getpass import getuser

    from consilience.orchestrator.feedback.history import History

    history, person = None, ""
    try:
        history = History.open(panel, settings)
        person = getuser()
    except HistoryError as cause:
        complain("not saved", f"{cause}; --no-history works without saving")
    except (KeyError, OSError):  # nobody has this number
        pass
    opened = Keeper(history, person)
    try:
        yield opened
    finally:
        opened.close()


@click.command()
@click.argument("id", required=False)
@panel_option
@click.option("--label", help="Only diagnoses with this label.")
@click.option(
    "--verdict", type=click.Choice(["confident", "refer"]), help="Only confident ones, or only referred ones."
)
@click.option("--person", help="Only those that this person asked for.")
@click.option("--channel", help="Only those made by: python, command, chat, web or slack.")
@click.option("--since", type=click.DateTime(), help="From this day or time on.")
@click.option("--until", type=click.DateTime(), help="Before this day or time.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Only the newest N; a list shows {DIAGNOSES_SHOWN} by default.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of text.")
@click.option("--delete", is_flag=True, help="Delete the selected diagnoses; asks first.")
@click.option("--yes", is_flag=True, help="With --delete: do not ask first.")
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
    """List, show, export or delete saved diagnoses.

    The newest come first; ID, or its beginning, shows one in detail. --json prints each diagnosis whole, on a line;
    --csv prints the main columns.
    """
    from consilience.orchestrator.feedback.feedback import Feedbacks
    from consilience.orchestrator.feedback.history import History

    if yes and not delete:
        raise click.UsageError("--yes works only together with --delete")
    settings = collected(settings_file, assignments)
    with History.open(panel, settings.history) as kept:
        if id is not None:
            id = kept.whole_id(id)
            selected: Iterable[StoredDiagnosis] = [kept.get(id)]
        else:
            is_listed = not (as_json or as_csv or delete)
            selected = kept.find(
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
            _delete(kept, [stored.id for stored in selected], yes)
        elif as_json:
            for stored in selected:
                votes = [word.to_dict() for word in feedbacks.of(stored.id)]
                click.echo(json.dumps({**stored.to_dict(), "feedback": votes}))
        elif as_csv:
            _print_csv(selected, feedbacks)
        elif id is not None:
            _show(kept.get(id), feedbacks)
        else:
            _list(list(selected), kept.count(), feedbacks)


def _delete(history: History, ids: list[str], yes: bool) -> None:
    from consilience.core.render.phrases import counted

    if ids and not yes:
        click.confirm(f"Delete {counted(len(ids), 'diagnosis')} and their feedback?", abort=True, err=True)
    click.echo(f"{counted(history.delete(ids), 'diagnosis')} deleted")


def _row(kept: StoredDiagnosis, feedbacks: Feedbacks) -> dict[str, str]:
    from consilience.core.render.phrases import headline

    diagnosis = kept.diagnosis
    votes = "; ".join(f"{vote.person or 'unknown'}: {vote.label} ({vote.status})" for vote in feedbacks.of(kept.id))
    values = (
        kept.id,
        kept.when.isoformat(timespec="seconds"),
        diagnosis.source,
        diagnosis.label,
        f"{diagnosis.probability:.4f}",
        diagnosis.verdict,
        headline(diagnosis),
        kept.channel,
        kept.person,
        votes,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _print_csv(selected: Iterable[StoredDiagnosis], feedbacks: Feedbacks) -> None:
    from consilience.core.render.phrases import without_controls

    for lines in (iter([COLUMNS]), (_row(stored, feedbacks).values() for stored in selected)):
        for line in lines:
            text = io.StringIO()
            cells = [_no_formula(str(cell)) for cell in line]
            csv.writer(text).writerow(map(without_controls, cells) if is_terminal() else cells)
            click.echo(text.getvalue().encode("utf-8", "backslashreplace"), nl=False)


def is_terminal() -> bool:
    """Return whether what is printed comes to a person's terminal."""
    return sys.stdout.isatty()


def _no_formula(text: str) -> str:
    """Return text that no spreadsheet runs as a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _show(kept: StoredDiagnosis, feedbacks: Feedbacks) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.diagnosis_text import detail_of
    from consilience.frontends.cli.terminal import console

    out = console()
    out.print(detail_of(kept.diagnosis), "", sep="\n")
    asked = f"{kept.when:%Y-%m-%d %H:%M} UTC, {kept.channel}, {kept.person or 'unknown'}"
    out.print(one_line(f"{kept.id}: {asked}"))
    for vote in feedbacks.of(kept.id):
        out.print(one_line(f"{vote.person or 'unknown'}: {vote.label} ({vote.status})"))


def _list(selected: list[StoredDiagnosis], count: int, feedbacks: Feedbacks) -> None:
    from consilience.core.render.phrases import claim, counted, one_line, source_name
    from consilience.frontends.cli.terminal import console, table

    out = console()
    listed = table("Id", "When (UTC)", "Image", "Label", "Probability", "Verdict", "Asked by", "Feedback")
    listed.columns[0].min_width = max((len(stored.id) for stored in selected), default=0)  # to be copied as a whole
    for stored in selected:
        diagnosis, (words, figure) = stored.diagnosis, claim(stored.diagnosis)
        listed.add_row(
            stored.id,
            f"{stored.when:%Y-%m-%d %H:%M}",
            source_name(diagnosis.source),
            words,
            figure or "–",
            diagnosis.verdict,
            one_line(" ".join(filter(None, (stored.channel, stored.person)))),
            one_line(_row(stored, feedbacks)["feedback"]),
        )
    if selected:
        out.print(listed)
    click.echo(f"{len(selected):,} of {counted(count, 'diagnosis')}", err=True)
