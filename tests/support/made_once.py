"""What takes long to make and is not changed by tests: made once for all processes of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder `name`, which `make` fills in the first process that asks; the others wait."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # a process has a folder of its own in that of the run
    folder = root / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = root / f"{name}.partial"
            make(partial)
            partial.rename(folder)
    return folder
