"""Reporting the progress of long work."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""A function that is called with what is being done, how much of it is done, and how much there is in all."""


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing: the `Progress` where nobody watches."""
