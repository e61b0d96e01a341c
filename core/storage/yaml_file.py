"""Reading a YAML file that a person wrote: one mapping, in which no key stands twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, made to refuse equal keys, of which it would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml_mapping(path: str | Path) -> dict[Any, Any]:
    """Return the mapping in a YAML file; that of an empty file is empty.

    Raises:
        ValueError: the file cannot be read, is no YAML, holds something else, or a key twice. The message says
            what and on which line, and quotes nothing but that key: a value may be a secret.
    """
    try:
        data = _Loader(Path(path).read_text(encoding="utf-8-sig")).get_single_data()
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
