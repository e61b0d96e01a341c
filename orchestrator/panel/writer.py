"""What all have in common who write a panel: one at a time, with its distances worked out and its index up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from consilience.core.errors import PanelError
from consilience.core.progress import Progress
from consilience.core.settings.settings import Settings
from consilience.core.storage.panel_folder import refuse_links
from consilience.core.storage.user_folders import make_private_folder
from consilience.orchestrator.novelty.novelty_score import Novelty
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.memory.image_memory import writer_lock
from consilience.retrieval.memory.labelled_images import LabelledImages


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the writer lock; a folder that was made for it goes again if nothing was written."""
    is_new = not path.exists()
    try:
        if not is_new:
            refuse_links(path)
        make_private_folder(path)
    except OSError as cause:
        raise PanelError(
            f"the panel '{path}' cannot be made: {cause.strerror}; check the path and your rights"
        ) from cause
    try:
        with writer_lock(path):
            yield
    finally:
        if is_new and {entry.name for entry in path.iterdir()} <= {"writer.lock"}:
            with suppress(OSError):
                (path / "writer.lock").unlink(missing_ok=True)
                path.rmdir()


def prepare_novelty(novelty: Novelty | None, labelled_images: LabelledImages, settings: Settings) -> None:
    """Work out the distances that novelty is measured by where a panel knows no signs of it, so that they are saved."""
    if novelty is None:
        labelled_images.kth_distances(min(settings.memory.neighbours, len(labelled_images) - 1))


def index(panel: Panel, settings: Settings, progress: Progress) -> None:
    """Bring the index, if one is needed, up to date, unless a reader owns it: who owns it next does so otherwise."""
    progress("indexing images", 0, len(panel.labelled_images))
    with panel.open_memory(settings.memory.url) as memory:
        memory.prepare()
        progress("indexing images", len(panel.labelled_images), len(panel.labelled_images))
