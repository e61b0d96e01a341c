"""The rooms hold: arrows go one way, no circle, no crowded folder, no name twice."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.support.imports import cycle, drawn, import_graph, modules, room_graph

LAYERS = ("core", "prompts", "retrieval", "agents", "orchestrator", "evals", "frontends")
"""From the ground up: a folder imports only from itself and from folders before it."""

MODULES_IN_A_FOLDER = 16

ROOMS = Path(__file__).with_name("rooms.txt")


def test_no_arrow_between_rooms_is_new() -> None:
    """A new arrow is a decision: draw it with `python -m tests.support.imports > tests/rooms.txt`, and say why."""
    assert drawn() == ROOMS.read_text(encoding="utf-8")


def test_the_layers_import_downwards() -> None:
    for source, targets in room_graph().items():
        for target in targets - {"."}:
            if source != ".":
                assert LAYERS.index(target.split("/")[0]) <= LAYERS.index(source.split("/")[0]), f"{source} -> {target}"


def test_no_modules_import_each_other() -> None:
    assert cycle(import_graph()) == []


@pytest.mark.parametrize(
    "floor", ["core", "retrieval", "agents", "orchestrator", "evals", "frontends", "frontends/cli"]
)
def test_no_rooms_of_a_floor_import_each_other(floor: str) -> None:
    """What lies on the floor itself opens the rooms and lends them its base types, and is no room beside them."""
    rooms = {name: targets for name, targets in room_graph().items() if name.rpartition("/")[0] == floor}
    assert rooms
    assert cycle({name: targets & rooms.keys() for name, targets in rooms.items()}) == []


def test_no_folder_is_crowded() -> None:
    crowded = Counter(file.parent for file in modules().values() if file.name != "__init__.py")
    assert {folder.name: n for folder, n in crowded.items() if n > MODULES_IN_A_FOLDER} == {}


def test_one_name_one_thing() -> None:
    files = Counter(file.stem for file in modules().values() if file.stem not in ("__init__", "__main__"))
    assert [name for name, n in files.items() if n > 1] == []
    classes = Counter(
        node.name
        for file in modules().values()
        for node in ast.parse(file.read_bytes()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, n in classes.items() if n > 1] == []
