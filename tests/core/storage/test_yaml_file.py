"""YAML files that somebody else wrote: bounded, and read as they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from consilience.core.storage.yaml_file import MAX_BYTES, MAX_DEPTH, as_yaml, read_yaml_mapping


def read(tmp_path: Path, text: str) -> dict[Any, Any]:
    path = tmp_path / "given.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml_mapping(path)


def test_aliases_are_refused_before_they_stand_for_anything(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(ValueError, match=r"in line 2: aliases \('\*'\) are not read: write it out"):
        read(tmp_path, bomb)
    with pytest.raises(ValueError, match="in line 2: aliases"):
        read(tmp_path, "base: &base {a: 1}\nmore: {<<: *base}")
    with pytest.raises(ValueError, match="aliases"):
        read(tmp_path, "a: &a [*a]")
    assert read(tmp_path, "a: &unused 1\nb: '*a'") == {"a": 1, "b": "*a"}


def test_depth_and_size_are_bounded(tmp_path: Path) -> None:
    assert read(tmp_path, "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))["a"]
    for deep in ("[" * 40 + "]" * 40, "{b: " * 40 + "1" + "}" * 40, "[" * 100_000):
        with pytest.raises(ValueError, match=f"in line 1: more than {MAX_DEPTH} levels"):
            read(tmp_path, "a: " + deep)
    with pytest.raises(ValueError, match=r"more than the 2,097,152 bytes allowed"):
        read(tmp_path, "#" * MAX_BYTES + "\n")
    path = tmp_path / "sparse.yaml"
    with path.open("wb") as file:
        file.truncate(2**40)  # reading it would take all memory
    with pytest.raises(ValueError, match="bytes allowed"):
        read_yaml_mapping(path)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("12:30", "12:30"),
        ("190:20:30", "190:20:30"),
        ("1:30.5", "1:30.5"),
        ("007", "007"),
        ("0b11", "0b11"),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("2.5E+2", 250.0),
        (".inf", float("inf")),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("~", None),
    ],
)
def test_values_are_what_they_look_like(tmp_path: Path, written: str, means: object) -> None:
    read_value = read(tmp_path, f"a: {written}")["a"]
    assert (read_value, type(read_value)) == (means, type(means))


def test_what_is_written_is_read_as_it_was_here_and_by_others(tmp_path: Path) -> None:
    texts = ["0E0", "1e3", "+1e-3", "12:30", "007", "0x1F", "1_0", "yes", "null", "2024-05-01", "a: b", "", "ü\x85"]
    data = {"texts": texts, "numbers": [0, 1e3, 1e-7, 0.5, float("inf")], "unset": None, "same": [texts, texts]}
    text = as_yaml(data)
    assert read(tmp_path, text) == data
    assert yaml.safe_load(text) == data
