"""Every example in a docstring does what it says, in every module of every package that the project installs."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import consilience


def modules() -> list[str]:
    inner = (module.name for module in pkgutil.walk_packages(consilience.__path__, "consilience."))
    return ["consilience", *(name for name in inner if not name.endswith(".__main__"))]


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.failed == 0
