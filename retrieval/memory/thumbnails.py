"""Small pictures of the images in a memory, read when they are asked for."""

from __future__ import annotations

import threading
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from consilience.core.errors import PanelDamagedError

MAX_PICTURE = 2**22
"""Bytes of a small picture; those that are written have thousands."""


class Thumbnails(Protocol):
    """A source of thumbnails: a dict of JPEG bytes by identity, or a `ThumbnailArchive`."""

    def get(self, identity: str, /) -> bytes | None:
        """Return the JPEG of one image; None if none was kept."""


class ThumbnailArchive:
    """A zip file with an entry `<id>.jpg` for each picture; safe to read from many threads.

    The file is opened at once and stays open, so that its pictures outlive a panel that another process
    replaces; its directory is read with the first picture. Raises OSError if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = path.open("rb")
        weakref.finalize(self, self._handle.close)
        self._zip: ZipFile | None = None
        self._lock = threading.Lock()

    def get(self, identity: str, /) -> bytes | None:
        """Return the JPEG of one image; None if none was kept.

        Raises:
            PanelDamagedError: the archive, or this entry, cannot be read.
        """
        try:
            with self._lock:
                self._zip = self._zip or ZipFile(self._handle)
                info = self._zip.getinfo(f"{identity}.jpg")
                if info.file_size > MAX_PICTURE:
                    raise BadZipFile(f"'{info.filename}' would have {info.file_size:,} bytes")
                return self._zip.read(info)
        except KeyError:
            return None
        except (BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as cause:
            raise PanelDamagedError(f"the thumbnails in '{self._path}' cannot be read: {cause}") from cause


def write_archive(path: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
    """Write (id, JPEG) pairs to a zip file, so that the same pictures always give the same file."""
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for identity, picture in pictures:
            archive.writestr(ZipInfo(f"{identity}.jpg"), picture)
