"""Small pictures as data addresses, which need no file and no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from consilience.core.errors import ConsilienceError
from consilience.core.evidence import Neighbour
from consilience.core.images import load_image
from consilience.evals.report.galleries import Row
from consilience.retrieval.memory.labelled_images import LabelledImages

SIDE = 128
"""Longer side of an image's picture, in pixels."""


class Pictures:
    """Pictures of evaluated images and of similar cases (those of `known`); None where there is none."""

    def __init__(self, known: LabelledImages | None) -> None:
        self._known = known

    def of_image(self, row: Row) -> str | None:
        """Return the picture of a row's image, read again from its file; None if it is not local, gone or changed."""
        if "://" in row["source"]:
            return None
        try:
            image = load_image(row["source"])
        except ConsilienceError:
            return None
        return picture_address(image.thumbnail(SIDE)) if image.identity == row["identity"] else None

    def of_strange(self, strange: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return the pictures of one of `shift.strangest` in metrics.json, and of the labelled image nearest to it."""
        nearest = None if self._known is None else self._known.thumbnail(strange["nearest"])
        return self.of_image(strange), None if nearest is None else picture_address(nearest)

    def of_neighbour(self, neighbour: Neighbour) -> str | None:
        """Return the picture of a similar case, from the panel. Raises PanelDamagedError."""
        picture = None if self._known is None else self._known.thumbnail(neighbour.id)
        return None if picture is None else picture_address(picture)


def picture_address(jpeg: bytes) -> str:
    """Return a JPEG as a data address."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
