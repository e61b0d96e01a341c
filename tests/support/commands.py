"""The types of the fixtures that run a command, in this process or in one of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import click.testing

Invoke = Callable[..., click.testing.Result]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
