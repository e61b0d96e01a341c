"""Small pictures as data addresses, which need no file and no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consilience.core.errors import ConsilienceError
from consilience.core.evidence import Neighbour
from consilience.core.images import Image, load_image
from consilience.core.render.html import picture_address
from consilience.evals.report.galleries import Row
from consilience.evals.report.where_looked import Looked, WhereLooked
from consilience.retrieval.memory.labelled_images import LabelledImages

SIDE = 128
"""Longer side of an image's picture, in pixels."""


class Pictures:
    """Pictures of evaluated images and of similar cases (those of `known`); None where there is none."""

    def __init__(self, known: LabelledImages | None, looked: WhereLooked | None = None) -> None:
        self._known, self._looked = known, looked

    def of_image(self, row: Row) -> str | None:
        """Return the picture of a row's image, read again from its file; None if it is not local, gone or changed."""
        image = _read_again(row)
        return None if image is None else picture_address(image.thumbnail(SIDE))

    def with_looks(self, row: Row) -> tuple[str | None, Looked | None]:
        """Return the same, and where in the image the agents looked; None where that cannot be told."""
        image = _read_again(row)
        if image is None:
            return None, None
        looked = None if self._looked is None else self._looked(row, image)
        return picture_address(image.thumbnail(SIDE)), looked

    def of_strange(self, strange: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return the pictures of one of `shift.strangest` in metrics.json, and of the labelled image nearest to it."""
        nearest = None if self._known is None else self._known.thumbnail(strange["nearest"])
        return self.of_image(strange), None if nearest is None else picture_address(nearest)

    def of_neighbour(self, neighbour: Neighbour) -> str | None:
        """Return the picture of a similar case, from the panel. Raises PanelDamagedError."""
        picture = None if self._known is None else self._known.thumbnail(neighbour.id)
        return None if picture is None else picture_address(picture)


def _read_again(row: Row) -> Image | None:
    if "://" in row["source"]:
        return None
    try:
        image = load_image(row["source"])
    except ConsilienceError:
        return None
    return image if image.identity == row["identity"] else None
