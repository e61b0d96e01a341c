"""Where the agents looked in the images that a report shows: colours to be laid over each, and words."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError
from consilience.core.images import Image
from consilience.core.render.colours import label_colours
from consilience.core.render.heat_map import HeatMap
from consilience.core.render.html import picture_address
from consilience.evals.report.galleries import Row
from consilience.orchestrator.heat.heat_of_diagnosis import exact_heat
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.encoder import Encoder

MOST = 120
"""Images of a report in which it is looked for, at most: as many as its galleries show. Each takes about 20 ms."""

SIDE = 32
"""Longer side of the colours, in pixels; the browser smooths them."""


@dataclass(frozen=True)
class Looked:
    """Where the agents looked in one image.

    Attributes:
        layer: data address of the colours, to be laid over the image.
        key: the two labels, each with its colour, such as "#0072B2".
        words: what it says.
    """

    layer: str
    key: tuple[tuple[str, str], tuple[str, str]]
    words: str


class WhereLooked:
    """Finds out where the agents of a panel looked, by class activation; each image is looked at once more."""

    def __init__(self, panel: Panel, encoder: Encoder) -> None:
        """Look with the panel's encoder."""
        self._panel, self._encoder = panel, encoder
        self._heads = {head.name: head for head in panel.heads}
        self._known: dict[int, Looked | None] = {}

    def __call__(self, row: Row, image: Image) -> Looked | None:
        """Return where they looked in a row's image; None where that cannot be told, or of the MOST + 1st on."""
        place = int(row["row"])
        if place not in self._known and len(self._known) < MOST:
            self._known[place] = self._found(replace(Diagnosis.from_dict({**row, "trust": ()}), image=image))
        return self._known.get(place)

    def _found(self, diagnosis: Diagnosis) -> Looked | None:
        try:
            heat = exact_heat(self._panel, self._heads, self._encoder, diagnosis, None, None)
        except ConsilienceError:
            return None
        colours = label_colours(diagnosis)
        mine, other = (heat.label, colours[heat.label]), (heat.other, colours[heat.other])
        return Looked(_address(heat, mine[1], other[1]), (mine, other), heat.words)


def _address(heat: HeatMap, colour: str, other_colour: str) -> str:
    png = io.BytesIO()
    heat.layer(SIDE, colour, other_colour).save(png, "PNG")
    return picture_address(png.getvalue(), "png")
