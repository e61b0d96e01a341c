"""Line editing on a terminal: arrow keys, the lines of this session, and Tab for commands, labels, agents and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

MAX_OFFERED = 200
"""Completions at most: a folder may hold a million images."""

Names = Callable[[], Sequence[str]]
"""Returns the names that may be typed now: labels and agents of the panel as it is."""


def edit_lines(commands: Sequence[str], labels: Names, agents: Names) -> None:
    """Let `input` edit its line, remember those before it while the program runs, and complete at Tab.

    Without Python's readline (on Windows the console itself edits) nothing changes.
    """
    try:
        import readline
    except ImportError:
        return

    found: list[str] = []

    def complete(line: str, number: int) -> str | None:
        if number == 0:
            found[:] = completions(line, commands, labels(), agents())
        return found[number] if number < len(found) else None

    readline.set_completer_delims("")  # a whole line is completed: names and paths hold blanks
    readline.set_completer(complete)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


def completions(line: str, commands: Sequence[str], labels: Sequence[str], agents: Sequence[str]) -> list[str]:
    """Return the lines that begin as `line` does: with a command, a label or an agent as its end, or a file's name."""
    found = [f"{command} " if command == "/wrong" else command for command in commands if command.startswith(line)]
    found += _with_names(line, labels if line.startswith("/wrong ") else (*labels, *agents))
    offered = dict.fromkeys([*found, *_files(line)])
    return [text for text in offered if text.isprintable()][:MAX_OFFERED]


def _with_names(line: str, names: Sequence[str]) -> list[str]:
    """Return the line with each name in the place of its longest end that is the beginning of one."""
    from consilience.core.task import plain

    if line == "/wrong ":
        return [line + name for name in names]
    for start in (0, *(place + 1 for place, sign in enumerate(line) if sign == " ")):
        end = plain(line[start:])
        if fitting := [name for name in names if end and plain(name).startswith(end)]:
            return [line[:start] + name for name in fitting]
    return []


def _files(line: str) -> list[str]:
    """Return the folders and images whose path begins as the line does."""
    from consilience.core.dataset import SUFFIXES

    folder, beginning = os.path.split(line)
    if not line:
        return []
    found = []
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                if not entry.name.startswith(beginning) or (entry.name.startswith(".") and not beginning):
                    continue
                if entry.is_dir():
                    found.append(os.path.join(folder, entry.name, ""))
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    found.append(os.path.join(folder, entry.name))
    except (OSError, ValueError):  # no such folder, or no path at all
        return []
    return sorted(found)
