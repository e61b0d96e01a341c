"""A panel of drawn shapes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import consilience
from tests.support.shapes import draw_all


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and tokens of whoever runs the tests do not count; the folder of exported models may be theirs."""
    for name in list(os.environ):
        kept = name in ("CONSILIENCE_CACHE", "CONSILIENCE_TEST_DATA")
        if name.startswith(("CONSILIENCE_", "SLACK_")) and not kept:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def fitted_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    panel = tmp_path_factory.mktemp("fitted-shapes") / "panel"
    consilience.fit(draw_all(tmp_path_factory.mktemp("shapes")), panel)
    return panel


@pytest.fixture
def panel(fitted_shapes: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(fitted_shapes, tmp_path / "panel"))
