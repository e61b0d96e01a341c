"""Names of images: as a terminal writes them when a file is dropped on it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from consilience.frontends.cli.named_images import dropped_name


def test_what_terminals_write_for_a_dropped_file(tmp_path: Path) -> None:
    for name in ("my leaf.jpg", "it's (1).jpg", 'a "b" & c.jpg', "leaf.jpg"):
        path = tmp_path / name
        path.touch()
        escaped = "".join(f"\\{letter}" if letter in " '\"()&" else letter for letter in str(path))  # macOS
        for line in (str(path), escaped, shlex.quote(str(path)), path.as_uri()):
            assert dropped_name(line) == str(path)


@pytest.mark.parametrize("line", ["why?", "what's that", "are you sure", "C:\\", "nul\0.png", "", "http://x/a b.jpg"])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert dropped_name(line) == line


def test_a_file_whose_name_has_such_signs_is_meant_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (r"my\ leaf.jpg", "'quoted'.jpg", "'all'"):
        Path(name).touch()
        assert dropped_name(name) == name
