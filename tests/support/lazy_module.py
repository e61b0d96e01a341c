"""A heavy library that a test file uses, imported when the first test does: collecting the tests stays quick."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


class LazyModule:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_") and attribute != "__version__":  # pytest asks each name whether it is a fixture
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def lazy_module(name: str) -> Any:
    """Return a stand-in for a library; the whole file is skipped where it is not installed."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return LazyModule(name)
