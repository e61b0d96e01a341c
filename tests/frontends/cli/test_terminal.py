from __future__ import annotations

import io
import json
import logging
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consilience.frontends.cli.outcome import complain
from consilience.frontends.cli.terminal import SafeConsole, console, print_json, progress_on, quiet_libraries


def printed(line: str) -> str:
    stream = io.StringIO()
    print_json(Console(file=stream, markup=False, highlight=False, emoji=False), line)
    return stream.getvalue()


@given(st.text())
def test_json_stays_the_same_data_on_one_printable_line(text: str) -> None:
    line = printed(json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "backslashreplace").decode())
    assert json.loads(line) == {"text": text}
    assert line.endswith("}\n")
    assert not any("\x7f" <= sign <= "\x9f" or sign in "\u202e\u2028" for sign in line)
    assert len(line.splitlines()) == 1


def test_json_is_neither_wrapped_nor_read_as_markup() -> None:
    line = json.dumps({"text": "[bold]:smile:[/bold] https://x.y " * 500})
    assert printed(line) == line + "\n"


@pytest.mark.parametrize("message", ["\x1b[31mred", "two\nlines", "back\bspace", "\u202eright to left", "\udcff"])
def test_a_complaint_is_one_printable_line(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    complain("error", message)
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()


def test_text_for_a_file_has_no_codes_and_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("word " * 300 + "[red]end[/red]", style="bold red")
    assert capsys.readouterr().out == "word " * 300 + "[red]end[/red]\n"


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202erust\r\b\x00"


@pytest.mark.parametrize("as_terminal", [True, False])
def test_nothing_that_is_printed_is_obeyed(as_terminal: bool) -> None:
    stream = io.StringIO()
    out = SafeConsole(file=stream, markup=False, force_terminal=as_terminal, color_system=None, width=200)
    cells = Table(HOSTILE, title=HOSTILE)
    cells.add_row(Text(HOSTILE), end_section=True)
    out.print(HOSTILE, Text(HOSTILE, style="bold"), cells)
    out.print(HOSTILE, soft_wrap=True)
    text = stream.getvalue()
    assert text.count("rust") == 6
    for sign in "\x1b\x07\x9b\u202e\r\b\x00":
        assert sign not in (text.replace("\x1b[1m", "").replace("\x1b[0m", "") if as_terminal else text)


def test_the_consoles_own_styles_stay() -> None:
    stream = io.StringIO()
    SafeConsole(file=stream, force_terminal=True, color_system="standard").print(Text("rust", style="bold red"))
    assert stream.getvalue() == "\x1b[1;31mrust\x1b[0m\n"


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_on(console(stderr=True)) as progress:
        progress("working", 1, 2)
        print("data")
        progress("working", 2, 2)
    assert capsys.readouterr() == ("data\n", "")


def test_progress_on_a_terminal_shows_what_is_done() -> None:
    stream = io.StringIO()
    with progress_on(Console(file=stream, force_terminal=True, width=100)) as progress:
        progress("working", 1, 2)
        progress("resting", 5, None)
        progress("working", 2, 2)
    assert "✔ working" in stream.getvalue()
    assert "2/2" in stream.getvalue()
    assert "starting" not in stream.getvalue().rsplit("\x1b[2K", 1)[-1]


def test_warnings_of_libraries_are_quiet_and_ours_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ours = logging.getLogger("consilience")
    before = ours.handlers[:], logging.root.handlers[:]
    try:
        with warnings.catch_warnings():
            quiet_libraries(debug=False)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            logging.getLogger("chromadb").error("telemetry")
            try:
                raise ValueError("\x1b[31mcause")
            except ValueError as cause:
                logging.getLogger("consilience.orchestrator.runtime.calls").warning(
                    "agent '%s' failed", "x\ny", exc_info=cause
                )
    finally:
        ours.handlers, logging.root.handlers = before
    assert capsys.readouterr().err == "warning: agent 'x y' failed\n"
