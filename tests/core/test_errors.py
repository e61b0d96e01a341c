"""The family of errors."""

from __future__ import annotations

import inspect
import json

import pytest

from consilience.core import errors
from consilience.core.errors import ConsilienceError, MissingExtraError, import_extra

FAMILY = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if error.__module__ == errors.__name__ and issubclass(error, Exception)
]


def drawn() -> dict[str, str]:
    """Each error of the tree in the module's docstring, with the one that it hangs on."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("|", " ").replace("+--", "   ").split()
        if not words or not words[0].endswith("Error"):
            continue
        depth = (line.index(words[0]) - 4) // 4
        path[depth:] = [words[0]]
        parents[words[0]] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_tree_at_the_top_of_the_module_is_the_family() -> None:
    assert drawn() == {error.__name__: error.__bases__[0].__name__ for error in FAMILY}


def test_all_can_be_caught_as_one() -> None:
    assert all(issubclass(error, ConsilienceError) for error in FAMILY)
    assert all(error.__doc__ for error in FAMILY)


def test_a_missing_extra_is_named_and_is_an_import_error_too() -> None:
    with pytest.raises(MissingExtraError) as caught:
        import_extra("no_such_module_anywhere", "clip")
    assert "'no_such_module_anywhere' is needed here" in str(caught.value)
    assert "pip install 'consilience[clip]'" in str(caught.value)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_installed_extra_is_imported() -> None:
    assert import_extra("json", "clip") is json
