"""Links in a folder of photos that lead out of it: whoever made the folder could show files of whoever reads it."""

from __future__ import annotations

import os
from pathlib import Path


class OutsideLinks:
    """Tells which links in a folder, at any depth, lead out of it, and counts them.

    Args:
        root: the folder; it may be a link itself.
        follow: whether they are followed; then none is left out.

    Attributes:
        left_out: those that were met, each once.
    """

    def __init__(self, root: str | Path, follow: bool = False) -> None:
        self.left_out: dict[Path, None] = {}
        self._follow, self._root = follow, Path(os.path.realpath(root))

    def leaves_out(self, entry: os.DirEntry[str]) -> bool:
        """Return whether an entry of a folder is left out.

        A link that leads nowhere is not: whoever reads it says so.
        """
        if self._follow or not entry.is_symlink():
            return False
        target = Path(os.path.realpath(entry.path))
        if target.is_relative_to(self._root) or not os.path.exists(target):
            return False
        self.left_out[Path(entry.path)] = None
        return True

    def sentence(self) -> str:
        """Return what was left out, and what to do about it; nothing if nothing was."""
        if not self.left_out:
            return ""
        number, first = len(self.left_out), next(iter(self.left_out))
        links = "link leads" if number == 1 else "links lead"
        named = f"'{first}'" if number == 1 else f"the first: '{first}'"
        return f"{number:,} {links} out of the folder ({named}); follow them with --set images.follow_links=true"
