"""The terminal: consoles that take text as it is, progress, and libraries kept quiet."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import TextIOWrapper
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from consilience.core.render.phrases import without_controls
from consilience.frontends.cli.outcome import complain

WIDTH_OF_A_FILE = 2000
"""Columns of text that goes to a file or a pipe, unless COLUMNS says otherwise: nothing is wrapped."""


class SafeConsole(Console):
    """A console on which nothing that is printed can move the cursor, or change the terminal in another way."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render without control characters, but for those of the console's own."""
        for segment in super().render(renderable, options):
            is_own = segment.control is not None
            yield segment if is_own else Segment(without_controls(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """Return a console for what anybody may have written: no markup is read, no control characters come through."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_FILE
    return SafeConsole(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def table(*columns: str) -> Table:
    """Return an empty table with columns of text, in the style of all tables."""
    made = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False, collapse_padding=True)
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


class Report(Protocol):
    """A function that shows progress: what is done, how much of it, of how many, and a note."""

    def __call__(self, what: str, done: int, total: int | None, note: str = "") -> None:
        """Show it."""

    def paused(self) -> AbstractContextManager[None]:
        """Take what is shown away, as long as a person is asked something."""


class _Rate(ProgressColumn):
    """Shows the speed: so many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s" if speed < 100 else f"{speed:,.0f}/s")


@contextmanager
def progress_on(console: Console, *, keep: bool = True) -> Iterator[Report]:
    """Show a progress bar for each thing that is done, if the console is a terminal; yields a `Report`.

    Args:
        keep: whether the bars stay when all is done.
    """
    columns = (
        SpinnerColumn(finished_text="✔"),
        TextColumn("{task.description:<26}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *columns,
        console=console,
        transient=not keep,
        redirect_stdout=sys.stdout.isatty(),  # what goes to a file or a pipe must not come to the terminal
        redirect_stderr=sys.stderr.isatty(),
        disable=not console.is_terminal,
    ) as bars:
        yield _ShownReport(bars)


class _ShownReport:
    """A `Report` on progress bars."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks = {"starting": bars.add_task("starting", total=None, note="")}

    def __call__(self, what: str, done: int, total: int | None, note: str = "") -> None:
        bars, tasks = self._bars, self._tasks
        if (first := tasks.pop("starting", None)) is not None:
            bars.remove_task(first)
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total, completed=done, note=note)
        bars.update(tasks[what], completed=done, total=total, note=note)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()


def is_interactive() -> bool:
    """Return whether a person can be asked: input and messages are a terminal's."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Say what is waited for, on a terminal with the time that it has taken so far."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    if not console.is_terminal:
        console.print(what)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(what, total=None)
        yield


_OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters that JSON leaves as they are, ends of lines, and changes of direction."""


class _Lines(logging.Handler):
    """Shows a log record as one line; tracebacks are shown with --debug only."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(record.levelname.lower(), record.getMessage())


def quiet_libraries(debug: bool) -> None:
    """Show our own warnings only, each on one line; with `debug` everything, with tracebacks."""
    if debug:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
        return
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it has handlers of its own, and tells of every retry
    logging.getLogger().addHandler(logging.NullHandler())  # else Python itself prints what nobody handles
    logging.getLogger("consilience").handlers = [_Lines()]


def tidy_streams() -> None:
    """Make the streams escape characters that they cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_settings(console: Console, settings: dict[str, Any]) -> None:
    """Print settings as YAML, to be put into a file: never wrapped, as that would make other YAML of them."""
    from consilience.core.storage.yaml_file import as_yaml

    console.print(as_yaml(settings), end="", soft_wrap=True)


def print_json(console: Console, line: str) -> None:
    """Print one line of JSON as UTF-8, with characters that a terminal would obey escaped as JSON does."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    console.print(_OBEYED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", line), soft_wrap=True)
