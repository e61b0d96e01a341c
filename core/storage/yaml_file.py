"""Reading a YAML file that a person wrote, one mapping in which no key stands twice; and writing what reads as it was.

Reading is bounded, whoever wrote the file: no aliases (500 bytes of them could stand for gigabytes), so many bytes,
so deep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2 * 2**20
"""Of a file; a task of 10,000 labels with their descriptions has half of it."""

MAX_DEPTH = 32
"""Lists and mappings inside one another."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, bounded in depth, and with plain numbers.

    It refuses equal keys, of which PyYAML would keep the last without a word. `12:30` and `007` are texts, not the
    numbers to base 60 and 8 that YAML 1.1 sees in them.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases ('*') are not read: write it out", problem_mark=mark)
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels inside one another", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
_Loader.yaml_implicit_resolvers = {
    start: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper for what `_Loader` reads: no aliases, and quotes where it or PyYAML would see no text.

    It escapes U+0085, which PyYAML writes as it is and then reads as the end of a line.
    """

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\x85" in text else None)


_Dumper.add_representer(str, _text_node)

for _tag, _pattern in _NUMBERS.items():
    for _either in (_Loader, _Dumper):
        _either.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), list("-+.0123456789"))


def as_yaml(data: Mapping[str, Any]) -> str:
    """Return a mapping of plain values as YAML: `read_yaml_mapping` restores it, in the same order."""
    return yaml.dump(dict(data), Dumper=_Dumper, allow_unicode=True, sort_keys=False)


def _text(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise yaml.MarkedYAMLError(problem=f"it has more than the {MAX_BYTES:,} bytes allowed")
    return data.decode("utf-8-sig")


def read_yaml_mapping(path: str | Path) -> dict[Any, Any]:
    """Return the mapping in a YAML file; that of an empty file is empty.

    Raises:
        ValueError: the file cannot be read, is no YAML, holds something else, or a key twice. The message says
            what and on which line, and quotes nothing but that key: a value may be a secret.
    """
    try:
        data = _Loader(_text(path)).get_single_data()
    except OSError as cause:
        raise ValueError(f"cannot be read: {cause.strerror}") from cause
    except yaml.MarkedYAMLError as cause:
        line = f" in line {cause.problem_mark.line + 1}" if cause.problem_mark else ""
        raise ValueError(f"is not valid YAML{line}: {cause.problem}") from None  # its cause quotes the file
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as cause:  # ValueError: 2020-13-45 is taken for a date
        raise ValueError(f"is not valid YAML ({type(cause).__name__}); quote what is meant as text") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"must hold a mapping (lines of 'key: value'), not a {type(data).__name__}")
    return data
