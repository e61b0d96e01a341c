"""A panel's folder on disk, whatever is in it: it changes all at once or not at all.

    panel.json     the manifest, for people too: format, id, generation, a checksum of every file below
    state-0003/    the files of generation 3, the one that the manifest names
    index/, locks  derived data, which others own; and the history of diagnoses

A writer fills the next generation's folder and then replaces the manifest, which is the one step that counts. Readers
need no lock: who finds files gone and a newer manifest starts again.

A panel may come from anybody, and a link in it would have us read or write elsewhere: none is followed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from consilience.core.errors import (
    ConsilienceError,
    PanelDamagedError,
    PanelError,
    PanelLinkError,
    PanelMissingError,
    PanelTooNewError,
)
from consilience.core.storage.atomic_write import partial_file, sync, write_atomically
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.user_folders import make_private_folder

T = TypeVar("T")

FORMAT_VERSION = 1

MANIFEST = "panel.json"
_PARTIAL = partial_file(Path(MANIFEST)).name
_STATE = re.compile(r"state-(\d{4,})")

HISTORY = "history.sqlite"

DERIVED = frozenset(
    {"index", "index.lock", "index.seal.json", "writer.lock", _PARTIAL, HISTORY, f"{HISTORY}-wal", f"{HISTORY}-shm"}
)
"""What may lie in a folder that still counts as empty: no part of a panel follows from it. A history outlives fits."""

KEYS = {"format": int, "id": str, "generation": int, "written": str, "written_by": str, "files": dict}
"""What every manifest holds; `write_panel_folder` adds what its caller returns."""


@dataclass(frozen=True)
class PanelFolder:
    """One generation of a panel, its files checked.

    Attributes:
        path: the panel's folder.
        manifest: what `panel.json` holds.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def state(self) -> Path:
        """The folder of this generation's files. The next write removes it."""
        return self.path / _state(self.generation)

    @property
    def id(self) -> str:
        """Identity of the panel, given at the first write and kept: 32 hex digits."""
        return str(self.manifest["id"])

    @property
    def generation(self) -> int:
        """Number of the write: 1 after the first, higher after each later one."""
        return int(self.manifest["generation"])


def open_panel_folder(path: str | Path) -> PanelFolder:
    """Return a panel's folder after checking its manifest and every file in it.

    Raises:
        PanelMissingError: there is no panel.
        PanelTooNewError: a newer version of Consilience wrote it.
        PanelDamagedError: it is half-written, or files are missing, changed or extra; names each.
        PanelError: it may not be read.
    """
    return read_panel_folder(path, lambda folder: folder)


def read_panel_folder(path: str | Path, read: Callable[[PanelFolder], T]) -> T:
    """Return what `read` returns for a checked panel.

    It starts again if another process wrote a newer generation meanwhile.

    Raises:
        PanelError: as `open_panel_folder` raises it; what `read` raises is passed on.
    """
    path = Path(path)
    folder = PanelFolder(path, read_manifest(path))
    while True:
        try:
            _check_files(folder)
            return read(folder)
        except (ConsilienceError, OSError):
            newer = PanelFolder(path, read_manifest(path))
            if newer == folder:
                raise
            folder = newer


def write_panel_folder(
    path: str | Path, write: Callable[[Path], Mapping[str, Any]], *, overwrite: bool = False
) -> PanelFolder:
    """Write a panel, or its next generation, and return it; the caller holds the lock (retrieval's `writer_lock`).

    Until the new manifest is in place the old panel stays as it is, whatever happens; a failure leaves nothing new.

    Args:
        path: the panel's folder, made if it is missing.
        write: fills the empty folder that it is given and returns more entries for the manifest. It may
            link files of the generation before, and writes into none of them.
        overwrite: whether a panel that is there, sound or not, may be replaced.

    Raises:
        PanelError: a panel or something else lies there, or the disk refuses; the message says which. An OSError
            that `write` raises becomes one, too; its other errors are passed on.
    """
    path = Path(path)
    try:
        is_new = not path.exists()
        refuse_to_replace(path, overwrite)
        make_private_folder(path)
        older = _generations(path)
        generation = max(older, default=0) + 1
        try:
            folder = _write_generation(path, generation, write)
        except BaseException:
            _undo(path, generation, is_new)
            raise
    except OSError as cause:
        is_full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room on the disk" if is_full else "check the path and the disk"
        raise PanelError(f"the panel '{path}' cannot be written ({cause}): {remedy}, then try again") from cause
    for number in older:  # what cannot be removed now goes with the next write
        shutil.rmtree(path / _state(number), ignore_errors=True)
    return folder


def _state(generation: int) -> str:
    return f"state-{generation:04d}"


def _generations(path: Path) -> list[int]:
    """Return the generations whose folders are there; a killed writer leaves one that no manifest names."""
    return [int(match[1]) for name in os.listdir(path) if (match := _STATE.fullmatch(name))]


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what `panel.json` holds, without looking at the files that it names.

    Raises:
        PanelMissingError: there is no panel.
        PanelLinkError: a link is in the folder.
        PanelTooNewError: a newer version of Consilience wrote it.
        PanelDamagedError: the manifest is missing, cannot be parsed, or has an older format.
        PanelError: it may not be read.
    """
    refuse_links(path)
    try:
        manifest = parsed_json((path / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as cause:
        if path.is_dir() and _generations(path):
            raise PanelDamagedError(
                f"the panel '{path}' is half-written: it has no {MANIFEST}. If nobody is writing it now, make it anew"
            ) from cause
        problem = "a file" if path.is_file() else "a folder of another kind" if path.is_dir() else "no such folder"
        raise PanelMissingError(
            f"there is no panel at '{path}' ({problem}): make one with 'consilience fit'"
        ) from cause
    except PermissionError as cause:
        raise _forbidden(path, cause) from cause
    except (OSError, ValueError) as cause:
        raise PanelDamagedError(_damaged(path, f"{MANIFEST} cannot be read ({cause})")) from cause
    if not isinstance(manifest, dict) or type(number := manifest.get("format")) is not int:
        raise PanelDamagedError(_damaged(path, f"{MANIFEST} does not say its format"))
    if number > FORMAT_VERSION:
        raise PanelTooNewError(
            f"the panel '{path}' has format {number}, and this version of Consilience knows formats up to "
            f"{FORMAT_VERSION}: upgrade with 'pip install --upgrade consilience'"
        )
    if number < FORMAT_VERSION:
        raise PanelDamagedError(f"the panel '{path}' has format {number}, which is no longer read: {fit_again(path)}")
    if wrong := [key for key, kind in KEYS.items() if type(manifest.get(key)) is not kind]:
        raise PanelDamagedError(_damaged(path, f"{MANIFEST} lacks {', '.join(wrong)}"))
    return manifest


def refuse_links(path: Path) -> None:
    """Look that a panel's folder, which may be a link itself, holds files and folders and nothing else.

    Raises:
        PanelLinkError: it holds a link, at any depth, or what is neither a file nor a folder.
    """
    folders = [os.fspath(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                        kind = "a link" if entry.is_symlink() else "neither a file nor a folder"
                        raise PanelLinkError(
                            f"'{entry.path}' is {kind}, and in a panel none is followed: put the file itself in its "
                            "place if you know it ('cp -rL' copies a folder so), or delete it"
                        )
        except OSError:  # another process removed an older generation, or whoever reads the files says why
            continue


def fit_again(path: Path) -> str:
    """Return the advice that closes the error of a panel that cannot be used as it is."""
    return f"fit it again with 'consilience fit IMAGES --panel {path} --overwrite'"


def _check_files(folder: PanelFolder) -> None:
    expected = folder.manifest["files"]
    if not folder.state.is_dir():
        raise PanelDamagedError(_damaged(folder.path, f"it is half-written: the folder {folder.state.name} is missing"))
    try:
        files = _files(folder.state)
        changed = [name for name in expected.keys() & files.keys() if _sealed(files[name]) != expected[name]]
    except PermissionError as cause:
        raise _forbidden(folder.path, cause) from cause
    except OSError as cause:
        raise PanelDamagedError(_damaged(folder.path, f"a file cannot be read ({cause})")) from cause
    groups = {"missing": expected.keys() - files.keys(), "changed": changed, "extra": files.keys() - expected.keys()}
    if problems := [f"{name} is {kind}" for kind, names in groups.items() for name in sorted(names)]:
        raise PanelDamagedError(_damaged(folder.path, f"in {folder.state.name}, {', '.join(problems)}"))


def _damaged(path: Path, problem: str) -> str:
    return f"the panel '{path}' is damaged: {problem}. Put the folder back from a copy, or make it anew"


def _forbidden(path: Path, cause: PermissionError) -> PanelError:
    return PanelError(f"the panel '{path}' may not be read ('{cause.filename}'): give this user permission to read it")


def _files(state: Path) -> dict[str, Path]:
    def refuse(cause: OSError) -> None:  # else a folder that may not be read would look empty
        raise cause

    paths = [Path(folder, name) for folder, _, names in os.walk(state, onerror=refuse) for name in names]
    return {path.relative_to(state).as_posix(): path for path in sorted(paths)}


def _sealed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": os.fstat(file.fileno()).st_size}


def refuse_to_replace(path: Path, overwrite: bool) -> None:
    """Raise PanelError if no panel may be written to `path`.

    It may where there is nothing, an empty folder or derived data alone; over a panel, with `overwrite`.
    """
    if not path.exists():
        return
    refuse_links(path)
    if not path.is_dir():
        raise PanelError(f"'{path}' is a file: name a folder for the panel")
    there = set(os.listdir(path)) - DERIVED
    if MANIFEST in there or _generations(path):
        if not overwrite:
            raise PanelError(
                f"there is a panel at '{path}' already: name another folder, or replace it with --overwrite "
                "(in Python: overwrite=True)"
            )
    elif there:
        raise PanelError(f"the folder '{path}' is no panel and holds {min(there)!r}: name an empty or a new folder")


def _write_generation(path: Path, generation: int, write: Callable[[Path], Mapping[str, Any]]) -> PanelFolder:
    """Write the files of a generation, then replace the manifest, and return the new generation."""
    state = path / _state(generation)
    state.mkdir()
    extra = write(state)
    if taken := sorted(KEYS.keys() & extra.keys()):
        raise ValueError(f"the entries {taken} of a manifest are not the caller's to set")
    files = {}
    for name, file in _files(state).items():
        files[name] = _sealed(file)
        sync(file)
    for inner in (*(inner for inner in state.rglob("*") if inner.is_dir()), state, path):
        sync(inner)
    entries = {
        "format": FORMAT_VERSION,
        "id": _id(path),
        "generation": generation,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "written_by": f"consilience {version('consilience')}",
        **extra,
        "files": files,
    }
    text = json.dumps(entries, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    data = text.encode("utf-8", "backslashreplace")  # a name that is not Unicode survives as JSON's escapes
    write_atomically(path / MANIFEST, data)
    return PanelFolder(path, json.loads(data))


def _id(path: Path) -> str:
    """Return the id of the panel that is there, or a new one."""
    try:
        return str(read_manifest(path)["id"])
    except PanelError:
        return uuid.uuid4().hex


def _undo(path: Path, generation: int, is_new: bool) -> None:
    """Remove what was begun, unless the manifest names it: an interrupt can come just after the replacement."""
    with suppress(PanelError):
        if read_manifest(path)["generation"] == generation:
            return
    shutil.rmtree(path / _state(generation), ignore_errors=True)
    if is_new:
        with suppress(OSError):
            path.rmdir()
