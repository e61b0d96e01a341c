"""Makes the modules that these tests share importable: there are no packages under tests/."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def shared(name: str) -> None:
    """Import a module of this folder under its plain name."""
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(sys.modules[name])


shared("scripted_server")
shared("vlm_cases")


@pytest.fixture
def server() -> Iterator[object]:
    with sys.modules["scripted_server"].ScriptedServer() as running:
        yield running
