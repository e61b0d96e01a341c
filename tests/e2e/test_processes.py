"""What only a process of its own shows: what is imported, where output goes, and how it ends when it is interrupted."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Run

HEAVY = ("numpy", "pydantic", "PIL", "onnxruntime", "chromadb", "langgraph", "sklearn", "scipy", "torch")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"], ["diagnose", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom consilience.frontends.cli.main import main\n"
        f"try: main({arguments!r})\n"
        f"except SystemExit as end: sys.exit(end.code or ','.join(sys.modules.keys() & set({HEAVY!r})) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_it_runs_as_a_module(run: Run) -> None:
    version = subprocess.run(
        [sys.executable, "-m", "consilience", "--version"], capture_output=True, text=True, check=False
    )
    assert version.stdout == run("--version").stdout


def test_help_documents_the_exit_codes(run: Run) -> None:
    output = run("--help").stdout
    for code in ("0 ", "1 ", "2 ", "3 ", "130"):
        assert f"\n    {code}" in output


@pytest.mark.slow
def test_the_whole_way(run: Run, shapes: Path, new_images: dict[str, Path], tmp_path: Path) -> None:
    panel = tmp_path / "panel"
    fit = run("fit", shapes, "--panel", panel, "--json")
    assert (fit.returncode, fit.stderr) == (0, "")
    assert json.loads(fit.stdout)["images"]["added"] == 42
    diagnosed = run("diagnose", *new_images.values(), tmp_path / "missing.png", "--panel", panel, "--json")
    assert (diagnosed.returncode, diagnosed.stderr) == (3, "")
    assert [json.loads(line).get("label") for line in diagnosed.stdout.splitlines()] == [*new_images, None]
    moved = shutil.move(panel, tmp_path / "moved")
    checked = run("check", moved)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_error_is_one_line_and_a_traceback_only_on_request(run: Run, tmp_path: Path) -> None:
    result = run("show", tmp_path / "nothing")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: there is no panel at")
    assert result.stderr.count("\n") == 1
    debugged = run("--debug", "show", tmp_path / "nothing")
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr
    assert "PanelMissingError" in debugged.stderr


def test_a_reader_that_goes_away_is_no_error(script: str, fitted: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [script, "show", str(fitted)]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert result.stderr == ""


@pytest.fixture
def fitting(script: str, shapes: Path, tmp_path: Path) -> Callable[[], tuple[subprocess.Popen[bytes], int]]:
    """Start a fit that shows its progress on a terminal, and wait until it is in the middle of its work."""

    def start() -> tuple[subprocess.Popen[bytes], int]:
        watching, terminal = pty.openpty()
        command = [script, "fit", str(shapes), "--panel", str(tmp_path / "panel"), "--set", "batch_size=2"]
        environment = {**os.environ, "TERM": "xterm"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment)
        os.close(terminal)
        seen = b""
        while b"embedding images" not in seen:
            seen += os.read(watching, 4096)
        return process, watching

    return start


Fitting = Callable[[], "tuple[subprocess.Popen[bytes], int]"]


def rest_of(watching: int) -> bytes:
    """What is written to a terminal until its last writer closes it."""
    seen = b""
    while True:
        try:
            part = os.read(watching, 4096)
        except OSError:  # Linux says so instead of an empty read
            part = b""
        if not part:
            os.close(watching)
            return seen
        seen += part


def test_an_interrupted_fit_leaves_nothing(fitting: Fitting, tmp_path: Path) -> None:
    process, watching = fitting()
    process.send_signal(signal.SIGINT)
    output = rest_of(watching)
    printed, _ = process.communicate()
    assert process.returncode == 130
    assert printed == b""
    assert b"interrupted: " in output
    assert b"Traceback" not in output
    assert not (tmp_path / "panel").exists()


@pytest.mark.slow
def test_a_killed_fit_can_be_run_again(fitting: Fitting, run: Run, shapes: Path, tmp_path: Path) -> None:
    process, watching = fitting()
    process.kill()
    rest_of(watching)
    process.communicate()
    assert run("show", tmp_path / "panel").returncode == 1
    again = run("fit", shapes, "--panel", tmp_path / "panel", "--agents", "neighbours")
    assert (again.returncode, again.stderr) == (0, "")
    assert run("check", tmp_path / "panel").returncode == 0


@pytest.mark.slow
def test_a_terminal_shows_progress_and_colours(fitting: Fitting) -> None:
    process, watching = fitting()
    output = rest_of(watching)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert b"fitting probe" in output
    assert b"\x1b[" in output
    assert b"\x1b[" not in printed  # it went to a pipe
    assert b"42 images, 3 labels" in printed
