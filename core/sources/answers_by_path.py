"""A table of answers in which an image is looked up by its path, in memory that does not grow with the table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from consilience.core.errors import DatasetError
from consilience.core.sources.answer_table import AnswerTable
from consilience.core.sources.answers import AnsweredImage


class AnswersByPath:
    """Finds what a table says of an image that is there, by its path.

    The table names an image by its whole path, by the end of it (its path below a folder), or by its file name. Of
    several names that fit the longest counts. Safe from many threads.

    Args:
        path: the table.

    Attributes:
        table: its answers.

    Raises:
        DatasetError: it cannot be used, or names an image in two ways.
    """

    def __init__(self, path: Path) -> None:
        self.table, self._lock = AnswerTable(path), Lock()
        self._spelled = dict[str, str]()  # as paths are compared, where that is not as they are written
        for name in self.table.names():
            if (path_of := _comparable(name)) != name:
                other = self._spelled.setdefault(path_of, name)
                if other != name or self.table.find(path_of) is not None:
                    also = other if other != name else path_of
                    raise DatasetError(f"{self.table.name} call one image '{also}' and '{name}'; give it one name")

    def find(self, source: str, images: Path | None = None) -> AnsweredImage | None:
        """Return what is known of an image; None if the table does not name it.

        Args:
            source: its path or address.
            images: the folder below which the end of a path is enough; None: it is everywhere.
        """
        whole = source if "://" in source else _slashed(os.path.abspath(source))
        names = _ends(whole) if images is None or _is_below(whole, images) else iter([whole])
        with self._lock:
            for name in names:
                if (found := self.table.find(self._spelled.get(name, name))) is not None:
                    return found
        return None


def _ends(path: str) -> Iterator[str]:
    """Yield a path and its ends, the longest first: '/a/b.jpg', 'a/b.jpg', 'b.jpg'."""
    yield path
    parts = path.split("/")
    for start in range(1, len(parts)):
        yield "/".join(parts[start:])


def _is_below(path: str, folder: Path) -> bool:
    return path.startswith(_slashed(os.path.abspath(folder)).rstrip("/") + "/")


def _comparable(name: str) -> str:
    """Return an image's name as the path by which it is found: with slashes, without '.' and '..'."""
    if "://" in name:
        return name
    path = _slashed(os.path.normpath(_slashed(name)))
    return _slashed(os.path.abspath(path)) if path.startswith("../") else path


def _slashed(path: str) -> str:
    return path.replace("\\", "/")
