"""Heat maps by occlusion: what becomes of the answer if one cell of the image is blurred (Zeiler and Fergus 2014).

It works for any agent, and asks each ROWS x COLUMNS times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from consilience.agents import Agent, AgentInput
from consilience.core.errors import AgentError
from consilience.core.images import Image
from consilience.core.render.heat_map import HeatMap
from consilience.orchestrator.ensemble.members import Member
from consilience.orchestrator.fitting.collect import to_array
from consilience.orchestrator.heat.compared_labels import ComparedLabels, first_looks
from consilience.orchestrator.runtime.calls import first_look

ROWS = COLUMNS = 7

BLUR = 0.1
"""Standard deviation of the blur, over the image's longer side."""


def occluded(image: Image) -> Iterator[Image]:
    """Yield the image with one cell of the grid blurred, for all cells, row by row."""
    whole = PIL.Image.fromarray(image.pixels)
    blurred = whole.filter(PIL.ImageFilter.GaussianBlur(BLUR * max(whole.size)))
    for row in range(ROWS):
        for column in range(COLUMNS):
            mask = PIL.Image.new("L", whole.size)
            left, right = (round(at * whole.width / COLUMNS) for at in (column, column + 1))
            top, bottom = (round(at * whole.height / ROWS) for at in (row, row + 1))
            if right > left and bottom > top:
                PIL.ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill=255)
            made = PIL.Image.composite(blurred, whole, mask)
            yield Image.from_pixels(np.asarray(made), image.source)


async def occlusion_heat(
    compared: ComparedLabels,
    agents: Mapping[str, Agent],
    members: Sequence[Member],
    inputs: AgentInput,
    size: tuple[int, int],
    timeout: float,
) -> HeatMap:
    """Return the heat map by these agents, as far as they count in the diagnosis.

    A cell that an agent did not answer about adds nothing.

    Args:
        compared: the labels.
        agents: whom to ask. members: of the panel.
        inputs: what `occluded` made of the image.
        size: height and width of the image.
        timeout: seconds that an agent has for each image.

    Raises:
        AgentError: none of them counts in the diagnosis, or none answered.
        BudgetSpentError: an agent may spend no more.
    """
    looks, evidence = first_looks(members), dict[str, np.ndarray]()
    for name, agent in agents.items():
        weight = compared.weight(name)
        if not weight:
            continue
        whole, grid = compared.calibrated_log_odds(name), np.zeros(ROWS * COLUMNS)
        raw = to_array(await first_look(agent, inputs, timeout, math.inf), inputs.task)
        answered = np.isfinite(raw).all(axis=1)
        if not answered.any():
            continue
        grid[answered] = whole - compared.log_odds(looks[name].calibrator(raw[answered]))
        evidence[name] = weight * grid.reshape(ROWS, COLUMNS)
    if not evidence:
        raise AgentError(
            f"none of {', '.join(agents) or 'no agents'} counts in this diagnosis and answered: name others that do"
        )
    return HeatMap(compared.label, compared.other, evidence, size, "occlusion")
