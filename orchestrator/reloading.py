"""A diagnoser that follows its panel, for servers that run for weeks.

When another process writes a newer generation (`fit`, `add`, `learn`), it is opened beside the old one, which goes on
answering, and takes over when it is ready. One that cannot be opened leaves the old one at work and says why.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from consilience.agents import Agent, Budget
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import ConsilienceError, PanelError
from consilience.core.images import ImageSource
from consilience.core.render.heat_map import HeatMap
from consilience.core.settings.settings import Settings, settings_or
from consilience.core.storage.panel_folder import MANIFEST
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.panel_graph import Step
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.memory.image_memory import ImageMemory

log = logging.getLogger(__name__)

Mark = tuple[int, int, int]
"""What tells one manifest from the next, which always comes as a new file: inode, time and size."""


@dataclass(eq=False)
class _Lease:
    """An open diagnoser, and how many calls are using it; one that was replaced closes with the last of them."""

    diagnoser: Diagnoser
    mark: Mark | None
    users: int = 0
    is_replaced: bool = False


class ReloadingDiagnoser:
    """A diagnoser that follows its panel, with the calls of `Diagnoser`. Safe from many threads; a context manager.

    Attributes:
        problem: why the panel that is on disk now is not the one at work; None if it is.
    """

    def __init__(self, path: Path, settings: Settings, agents: Sequence[Agent]) -> None:
        self.problem: str | None = None
        self._path, self._settings, self._agents = path, settings, agents
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._is_closed = False
        mark = self._looked_at = _mark(path)
        self._lease = _Lease(self._opened(Panel.open(path), None), mark)

    @classmethod
    def open(
        cls, panel: str | Path, *, settings: Settings | None = None, agents: Sequence[Agent] = (), **arguments: Any
    ) -> Self:
        """Open a panel. Arguments and errors as for `Diagnoser.open`."""
        return cls(Path(panel), settings_or(settings, arguments), agents)

    @property
    def panel(self) -> Panel:
        """The panel at work."""
        return self._lease.diagnoser.panel

    @property
    def settings(self) -> Settings:
        """The settings of the panel at work, with those of its models."""
        return self._lease.diagnoser.settings

    @property
    def weigher(self) -> Weigher:
        """The weigher of the panel at work."""
        return self._lease.diagnoser.weigher

    @property
    def budget(self) -> Budget:
        """The budget that the agents of the panel at work may spend together."""
        return self._lease.diagnoser.budget

    @property
    def memory(self) -> ImageMemory:
        """The image memory of the panel at work."""
        return self._lease.diagnoser.memory

    def diagnose(self, image: ImageSource) -> Diagnosis:
        """See `Diagnoser.diagnose`."""
        with self._using() as diagnoser:
            return diagnoser.diagnose(image)

    async def adiagnose(self, image: ImageSource, *, revise: bool = False) -> Diagnosis:
        """See `Diagnoser.adiagnose`."""
        with self._using() as diagnoser:
            return await diagnoser.adiagnose(image, revise=revise)

    @property
    def shift_reference(self) -> ShiftReference:
        """What new images are compared with by the panel at work."""
        return self._lease.diagnoser.shift_reference

    def diagnose_many(
        self, images: Iterable[ImageSource], *, keep_images: bool = False
    ) -> Iterator[Diagnosis | FailedImage]:
        """See `Diagnoser.diagnose_many`; one call is answered by one generation."""
        with self._using() as diagnoser:
            yield from diagnoser.diagnose_many(images, keep_images=keep_images)

    def stream(self, image: ImageSource) -> Iterator[Step | Diagnosis | FailedImage]:
        """See `Diagnoser.stream`."""
        with self._using() as diagnoser:
            yield from diagnoser.stream(image)

    def heat(self, diagnosis: Diagnosis, label: str | None = None, other: str | None = None) -> HeatMap:
        """See `Diagnoser.heat`."""
        with self._using() as diagnoser:
            return diagnoser.heat(diagnosis, label, other)

    def refresh(self) -> bool:
        """Open the panel that is on disk now, unless it is at work already. Returns whether another took over.

        Every call looks whether there is a newer one and opens it in the background; this one waits for it.
        """
        with self._opening:
            mark = self._looked_at = _mark(self._path)
            if self._is_closed or mark == self._lease.mark:
                self.problem = self.problem if self._is_closed else None
                return False
            try:
                panel, old = Panel.open(self._path), self._lease.diagnoser
                is_same = panel.encoder.fingerprint == old.panel.encoder.fingerprint
                new = self._opened(panel, old.encoder if is_same else None)
            except (ConsilienceError, OSError) as cause:
                self.problem = str(cause)
                log.warning(
                    "the panel '%s' was changed and cannot be opened; the old one goes on: %s", self._path, cause
                )
                return False
            with self._lock:
                old_lease, self._lease = self._lease, _Lease(new, mark)
                old_lease.is_replaced = True
                is_idle = old_lease.users == 0
            self.problem = None
            if is_idle:
                old_lease.diagnoser.close()
            return True

    def close(self) -> None:
        """Close the panel at work, whatever is under way. A second call does nothing."""
        with self._opening:
            self._is_closed = True
            self._lease.diagnoser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _opened(self, panel: Panel, encoder: Encoder | None) -> Diagnoser:
        return Diagnoser(panel, self._settings, self._agents, encoder)

    @contextmanager
    def _using(self) -> Iterator[Diagnoser]:
        if self._is_closed:
            raise PanelError(f"this diagnoser is closed: open the panel '{self._path}' again")
        self._look_for_newer()
        with self._lock:
            lease = self._lease
            lease.users += 1
        try:
            yield lease.diagnoser
        finally:
            with self._lock:
                lease.users -= 1
                is_over = lease.is_replaced and lease.users == 0
            if is_over:
                lease.diagnoser.close()

    def _look_for_newer(self) -> None:
        """One look at one file: cheap enough for every call."""
        if _mark(self._path) != self._looked_at and not self._opening.locked():
            threading.Thread(target=self.refresh, name="consilience-refresh", daemon=True).start()


def _mark(path: Path) -> Mark | None:
    """None where there is no manifest."""
    try:
        status = os.stat(path / MANIFEST)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
