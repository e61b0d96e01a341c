"""`consilience web` in a process of its own, as a user runs it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.shapes import draw

BYTES = {"Content-Type": "application/octet-stream"}


@contextmanager
def serving(panel: Path, *arguments: str, token: str = "") -> Iterator[str]:
    """Its address."""
    command = ["consilience", "web", "--panel", str(panel), "--port", "0", *arguments]
    with started(command, os.environ | {"CONSILIENCE_WEB_TOKEN": token, "COLUMNS": "500"}) as address:
        yield address


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Run a program of this environment that serves the page until it is told to stop; yields its address."""
    program, *arguments = command
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = re.search(r"http://[\d.]+:\d+", line)
        assert address is not None, line + process.stderr.read()
        yield address[0]
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors, errors


def png(label: str, number: int) -> bytes:
    """A drawn shape as a file."""
    file = io.BytesIO()
    draw(label, number).save(file, "PNG")
    return file.getvalue()


def diagnosed(client: httpx.Client, label: str = "circle", number: int = 1000, name: str = "new.png") -> dict[str, Any]:
    """Upload a drawn shape; returns the response."""
    answer = client.post("/v1/diagnose", params={"name": name}, content=png(label, number), headers=BYTES)
    assert answer.status_code == 201, answer.text
    diagnosis: dict[str, Any] = answer.json()
    return diagnosis
