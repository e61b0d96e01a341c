"""The folder of an embedded Chroma index: owned by one process, sealed by checksums, examined in a process apart.

Chroma reads damaged files without an error, or crashes the process over them. So their checksums are noted once the
index is open and at rest (reading does not change them). Files that are not as noted are opened in a child process
first, where a crash is only an answer.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from consilience.core.errors import MemoryBusyError
from consilience.core.storage.json_text import parsed_json
from consilience.core.storage.owner_lock import LockHeldError, hold_lock
from consilience.retrieval.memory.index import CheckReport
from consilience.retrieval.memory.labelled_images import LabelledImages

State = Literal["empty", "sound", "damaged", "unknown"]

EXAMINATION_SECONDS = 1800.0


class Store:
    """The folder of an embedded index, owned until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Own the folder.

        Raises:
            MemoryBusyError: another process owns it, or this one does elsewhere.
            OSError: the folder around it cannot be written.
        """
        self.path = path
        self._seal = path.with_name(f"{path.name}.seal.json")
        try:
            self._lock = hold_lock(path.with_name("index.lock"))
        except LockHeldError as cause:
            raise MemoryBusyError(f"the index in '{path}' is in use by {cause.holder}: close it there first") from cause

    def state(self) -> State:
        """Return whether the files are as `seal` left them, and if so, whether they were sound then."""
        checksums = self._checksums()
        if not checksums:
            return "empty"
        try:
            sealed = parsed_json(self._seal.read_bytes())
            same = sealed["files"] == checksums
            return ("sound" if sealed["sound"] else "damaged") if same else "unknown"
        except (OSError, ValueError, KeyError, TypeError):
            return "unknown"

    def seal(self, *, sound: bool) -> None:
        """Write down the checksums of the files as they are now, at rest, and whether they are sound."""
        self._seal.write_text(json.dumps({"sound": sound, "files": self._checksums()}), encoding="utf-8")

    def break_seal(self) -> None:
        """Remove the seal before anything is written, so that files left half-written are not believed later."""
        self._seal.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete the index. No client may have it open."""
        self.break_seal()
        if self.path.exists():
            shutil.rmtree(self.path)

    def examine(
        self, labelled_images: LabelledImages, name: str, fingerprint: str, sample: int | None = None
    ) -> CheckReport:
        """Return how the index compares with the labelled images, examined in a child process.

        No client may have it open.

        Args:
            labelled_images: the images that it should hold.
            name: of the collection.
            fingerprint: of the encoder that made the vectors.
            sample: about how many images have their vector and a query compared as well; None: all.
        """
        with tempfile.TemporaryDirectory(prefix="consilience-check-") as folder:
            replace(labelled_images, thumbnails=()).save(Path(folder))
            asked = [str(self.path), name, fingerprint, folder, str(sample or "")]
            command = [sys.executable, "-P", "-m", "consilience.retrieval.memory.examine_index", *asked]
            try:
                child = subprocess.run(  # noqa: S603 - this interpreter, our own module, no shell
                    command, capture_output=True, timeout=EXAMINATION_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                error = f"reading the index in '{self.path}' does not end"
                return CheckReport("chroma", len(labelled_images), error=error)
        if child.returncode != 0:
            how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
            error = f"reading the index in '{self.path}' crashes a process ({how})"
            return CheckReport("chroma", len(labelled_images), error=error)
        return CheckReport(**json.loads(child.stdout.splitlines()[-1]))

    def release(self) -> None:
        """Let another process, or another object of this one, own the folder."""
        self._lock.release()

    def _checksums(self) -> dict[str, str]:
        checksums = {}
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    checksums[path.relative_to(self.path).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
        return checksums
