"""Images that a panel has learned from: the very image, a copy of it, or another one of the same given group."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import ImageError
from consilience.core.images import Image, ImageSource
from consilience.evals.rows import LEFT_OUT
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.grouping.found_groups import alike_limit
from consilience.orchestrator.grouping.joining import copied_row
from consilience.retrieval.encoders.batch_embedding import Embedded


class LeftOut(ImageError):
    """The panel has learned from the image, and such images are left out."""


class NameOfKnownGroup(str):
    """The name of an image of a group that the panel has learned from: if leaks are left out, it is not opened."""


class WatchfulDiagnoser(Diagnoser):
    """Notes which images are copies of the panel's, resized or saved again, where groups are not given.

    Attributes:
        drops_leaks: whether they are left out as soon as they are loaded, with all others that the panel has learned
            from: nothing is paid for them.
    """

    drops_leaks = False

    @cached_property
    def copies(self) -> set[str]:
        """Return the identities of the copies that were seen so far."""
        return set()

    def is_leak(self, identity: str) -> bool:
        """Return whether the panel has learned from this image or from a copy of it; asked when it is decided."""
        return self.panel.has_learned_from(identity) or identity in self.copies

    def _load(self, source: ImageSource) -> Image:
        if self.drops_leaks and isinstance(source, NameOfKnownGroup):
            raise LeftOut(LEFT_OUT)
        image = super()._load(source)
        if self.drops_leaks and self.panel.has_learned_from(image.identity):
            raise LeftOut(LEFT_OUT)
        return image

    @cached_property
    def _limit(self) -> float:
        return alike_limit(self.panel.labelled_images.vectors, self.panel.encoder.name)

    async def _run_embedded(self, batch: Embedded[ImageSource], keep_images: bool) -> list[Diagnosis | FailedImage]:
        if self.panel.grouping.how == "given":  # who knows the things knows better: two cups may look alike from behind
            return await super()._run_embedded(batch, keep_images)
        readable = [row for row, image in enumerate(batch.images) if image is not None]
        similarities = batch.vectors @ self.panel.labelled_images.vectors.T
        kept = []
        for place, row in enumerate(readable):
            image = batch.images[row]
            if image is not None and self._is_copy(image, similarities[place]):
                self.copies.add(image.identity)
                if self.drops_leaks:
                    batch.images[row], batch.errors[row] = None, LeftOut(LEFT_OUT)
                    continue
            kept.append(place)
        batch.vectors = batch.vectors[kept]
        return await super()._run_embedded(batch, keep_images)

    def _is_copy(self, image: Image, similarities: np.ndarray) -> bool:
        known = self.panel.labelled_images
        return image.identity not in known.rows and (
            copied_row(image.thumbnail, similarities, self._limit, known) is not None
        )


class FreshDiagnoser(WatchfulDiagnoser):
    """Leaves out images that the panel has learned from."""

    drops_leaks = True
