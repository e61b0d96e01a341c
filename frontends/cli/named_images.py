"""Names of images as commands take them: folders, and files that are dropped on a terminal."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from consilience.frontends.cli.outcome import complain


def with_folders(names: Iterable[str], follow_links: bool) -> Iterator[str]:
    """Yield names, with the images below a folder in its place.

    A folder without images stays as it is, and will fail by its name as an image does. Links that lead out of a folder
    are left out, which is said on stderr, unless they are to be followed.

    Raises:
        DatasetError: a folder cannot be read.
    """
    from consilience.core.dataset import images_below
    from consilience.core.sources.outside_links import OutsideLinks

    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        links = OutsideLinks(name, follow_links)
        images = images_below(name, links)
        if links.left_out:
            complain("left out", links.sentence())
        yield from map(str, images) if images else [name]


def dropped_name(line: str) -> str:
    r"""Return the path in a line as a terminal writes it when a file is dropped on it; any other line as it is.

    Terminals put quotes around a name, or backslashes before its blanks, or they write a file:// address.

    >>> dropped_name(r"my\ leaf.jpg"), dropped_name("'my leaf.jpg'"), dropped_name("file:///my%20leaf.jpg")
    ('my leaf.jpg', 'my leaf.jpg', '/my leaf.jpg')
    """
    if _is_file(line):
        return line
    if line.casefold().startswith("file://"):
        return unquote(urlsplit(line).path)
    if (
        len(line) > 1
        and line[0] == line[-1]
        and line[0] in "'\""
        and (_is_file(line[1:-1]) or line[0] not in line[1:-1])
    ):
        return line[1:-1]
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        return line
    return words[0] if len(words) == 1 and ("\\" in line or "'" in line or '"' in line) else line


def _is_file(name: str) -> bool:
    try:
        return os.path.isfile(name)
    except ValueError:  # a NUL in it
        return False
