"""A real model in this process, for the tests that ask one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.made_once import made_once


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a checkpoint that knows a few replies; tests must not change it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.support.taught_model import lessons, teach

    torch.set_num_threads(1)  # so small a model is slower with more
    return made_once(tmp_path_factory, "taught-model", lambda folder: teach(folder, lessons()))
