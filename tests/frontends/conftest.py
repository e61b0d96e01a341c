"""A panel of drawn shapes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import consilience
from tests.support.made_once import made_once
from tests.support.shapes import draw_all


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and tokens of whoever runs the tests do not count; the folder of exported models may be theirs."""
    for name in list(os.environ):
        kept = name in ("CONSILIENCE_CACHE", "CONSILIENCE_CONFIG", "CONSILIENCE_TEST_DATA")
        if name.startswith(("CONSILIENCE_", "SLACK_")) and not kept:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def fitted_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    shapes = made_once(tmp_path_factory, "shapes", draw_all)
    once = made_once(tmp_path_factory, "fitted-shapes", lambda folder: consilience.fit(shapes, folder, group="none"))
    # each process has its own: who opens a panel owns its index
    return Path(shutil.copytree(once, tmp_path_factory.mktemp("fitted-shapes") / "panel"))


@pytest.fixture
def panel(fitted_shapes: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(fitted_shapes, tmp_path / "panel"))
