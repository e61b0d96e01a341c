"""Names of images as commands take them: a folder stands for the images at any depth below it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

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
