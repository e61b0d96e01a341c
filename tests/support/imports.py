"""Who imports whom in the product, read from the sources. `python -m tests.support.imports` prints the arrows."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ROOT / "src" / "consilience"


def modules() -> dict[str, Path]:
    """Return every module of the product by its name; a package stands for its `__init__`."""
    modules: dict[str, Path] = {}
    for folder in [ROOMS, *(entry for entry in ROOMS.iterdir() if entry.is_dir() and entry.name != "__pycache__")]:
        pattern = "*.py" if folder == ROOMS else "**/*.py"
        for file in folder.glob(pattern):
            parts = ("consilience", *file.relative_to(ROOMS).with_suffix("").parts)
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return modules


def imports(file: Path, known: Mapping[str, Path]) -> set[str]:
    """Return the modules of the product that a file imports, wherever in the file it does."""

    def names(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` leads to the module, `from module import name` to the module of the name
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module

    return {name for node in ast.walk(ast.parse(file.read_bytes())) for name in names(node) if name in known}


def import_graph() -> dict[str, set[str]]:
    """Return what each module of the product imports."""
    known = modules()
    return {name: imports(file, known) - {name} for name, file in known.items()}


def room(module: str, known: Mapping[str, Path]) -> str:
    """Return the folder that a module lies in: 'orchestrator/decision'; '.' for the public names' own module."""
    parts = module.split(".")[1:]
    if known[module].name != "__init__.py":
        parts = parts[:-1]
    return "/".join(parts) or "."


def room_graph() -> dict[str, set[str]]:
    """Return which rooms each room imports from, sub-rooms apart from the room that they lie in."""
    known = modules()
    arrows: dict[str, set[str]] = {room(name, known): set() for name in known}
    for name, targets in import_graph().items():
        arrows[room(name, known)] |= {room(target, known) for target in targets}
    return {source: targets - {source} for source, targets in arrows.items()}


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of the graph, its first node again at its end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def drawn() -> str:
    """Return the arrows between rooms as text, a room a line."""
    return "".join(f"{source} -> {' '.join(sorted(targets))}\n" for source, targets in sorted(room_graph().items()))


if __name__ == "__main__":
    print(drawn(), end="")
