"""A file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from consilience.core.storage.atomic_write import replacing, write_atomically


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_atomically(path, "old")
    write_atomically(path, "ä new")
    assert path.read_bytes() == "ä new".encode()
    write_atomically(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["rows.parquet"]


def test_until_it_is_whole_readers_see_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_atomically(path, "old")
    with replacing(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"


def test_two_who_write_the_same_file_at_once_do_not_meet(tmp_path: Path) -> None:
    path, neighbour = tmp_path / "a.png", tmp_path / "a.png.partial"
    neighbour.write_text("the user's own")
    with replacing(path, shared=True) as first, replacing(path, shared=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # it ended last
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "a.png.partial"]
    assert neighbour.read_text() == "the user's own"
