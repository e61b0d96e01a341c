"""Folders and files that other programs put beside photos, and that are no photos: thumbnails, caches, bins, forks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

BY_PRODUCT_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", ".@__thumb"}  # network storage
    | {"__macosx", ".appledouble", ".trashes", ".spotlight-v100", ".fseventsd", ".temporaryitems"}  # macOS
    | {"$recycle.bin", "system volume information"}  # Windows
    | {".thumbnails", ".thumbs", ".thumb", ".trash", "lost+found"}  # Linux
    | {".picasaoriginals", ".dtrash", ".stversions", ".dropbox.cache"}  # photo managers and clouds
    | {".ipynb_checkpoints", "__pycache__"}
)
"""Names, in lower case, of folders whose pictures other programs made of the photos beside them, or kept deleted."""

BY_PRODUCT_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store"})
"""The same of files."""


def is_by_product(name: str, is_folder: bool) -> bool:
    """Return whether a folder or file is no photo of anybody, by its name.

    >>> is_by_product("@eaDir", True), is_by_product(".Trash-1000", True), is_by_product("._leaf.jpg", False)
    (True, True, True)
    >>> is_by_product("scab", True), is_by_product("leaf.jpg", False)
    (False, False)
    """
    plain = name.casefold()
    if is_folder:
        return plain in BY_PRODUCT_FOLDERS or plain.startswith(".trash-")
    return plain in BY_PRODUCT_FILES or plain.startswith("._")  # macOS keeps a file's other fork under such a name


def by_products_below(root: Path) -> Iterator[Path]:
    """Yield the files below a folder that other programs made, those in their folders included.

    Links are not followed, and what cannot be read is passed over.
    """
    waiting = [(root, False)]
    while waiting:
        folder, is_made = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            made_here = is_made or is_by_product(entry.name, is_folder)
            if is_folder:
                if made_here or not entry.name.startswith("."):
                    waiting.append((Path(entry.path), made_here))
            elif made_here:
                yield Path(entry.path)
