"""Every example in a docstring does what it says, in every module of every package that the project installs."""

from __future__ import annotations

import doctest
import pkgutil
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def modules() -> list[str]:
    packages = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    inner = (
        f"{package}.{module.name}"
        for package in packages
        for module in pkgutil.iter_modules(import_module(package).__path__)
        if not module.ispkg and not module.name.startswith("__")
    )
    return [*packages, *inner]


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.failed == 0
