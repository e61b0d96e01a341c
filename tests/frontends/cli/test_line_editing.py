"""Line editing: what Tab offers, and that a real terminal offers it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.frontends.cli.channels.line_editing import completions

COMMANDS = ("/right", "/wrong", "/none")
LABELS = ("rust", "Frog_eye leaf spot", "scab")
AGENTS = ("gaussian", "qwen")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("/ri", ["/right"]),
        ("/wr", ["/wrong "]),
        ("/wrong ", ["/wrong rust", "/wrong Frog_eye leaf spot", "/wrong scab"]),
        ("/wrong frog-eye le", ["/wrong Frog_eye leaf spot"]),
        ("/wrong q", []),  # an agent is no label
        ("why not sc", ["why not scab"]),
        ("why not frog eye l", ["why not Frog_eye leaf spot"]),
        ("without gau", ["without gaussian"]),
        ("why ", []),
        ("", ["/right", "/wrong ", "/none"]),
    ],
)
def test_commands_labels_and_agents_are_offered(
    line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completions(line, COMMANDS, LABELS, AGENTS) == offered


def test_folders_and_images_are_offered(tmp_path: Path) -> None:
    for name in ("a leaf.JPG", "a note.txt", ".a.png", "a\x1b[2J.png"):
        (tmp_path / name).touch()
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "b.png").touch()
    assert completions(f"{tmp_path}/a", COMMANDS, LABELS, AGENTS) == [f"{tmp_path}/a folder/", f"{tmp_path}/a leaf.JPG"]
    assert completions(f"{tmp_path}/a folder/", COMMANDS, LABELS, AGENTS) == [f"{tmp_path}/a folder/b.png"]
    assert completions(f"{tmp_path}/none/", COMMANDS, LABELS, AGENTS) == []


@given(st.text(max_size=30), st.lists(st.text(max_size=8), max_size=4))
def test_any_line_is_borne_and_nothing_is_offered_that_a_terminal_obeys(line: str, labels: list[str]) -> None:
    assert all(text.isprintable() for text in completions(line, COMMANDS, labels, AGENTS))


TYPES = """
from consilience.frontends.cli.channels.line_editing import edit_lines
edit_lines(("/right", "/wrong"), lambda: ("healthy", "multiple diseases"), lambda: ())
print("READY", flush=True)
print("FIRST", repr(input("> ")), flush=True)
print("SECOND", repr(input("> ")), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminal, and no readline")
def test_on_a_terminal_tab_completes_and_an_arrow_brings_the_line_before() -> None:
    terminal, its_side = os.openpty()
    child = subprocess.Popen([sys.executable, "-c", TYPES], stdin=its_side, stdout=its_side, stderr=its_side)
    os.close(its_side)
    shown = b""

    def until(mark: bytes) -> None:
        nonlocal shown
        while mark not in shown:
            shown += os.read(terminal, 4096)

    try:
        until(b"> ")
        os.write(terminal, b"/wr\tmul\t\r")
        until(b"FIRST '/wrong multiple diseases'")
        os.write(terminal, b"\x1b[A\r")
        until(b"SECOND '/wrong multiple diseases'")
    finally:
        child.kill()
        child.wait()
        os.close(terminal)
