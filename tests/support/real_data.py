"""Where the real data lies that some tests need: it is no part of the project, and tests skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("CONSILIENCE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real_data(name: str) -> Path:
    """Return the file or folder of that name; skip the test where it is missing."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no real data at {path}; set CONSILIENCE_TEST_DATA to the folder that has it")
    return path
