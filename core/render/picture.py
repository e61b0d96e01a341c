"""A diagnosis as one picture: image, verdict, posterior, agents and similar cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import PIL.Image

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.errors import ConsilienceError
from consilience.core.evidence import Neighbour
from consilience.core.images import Image, load_image
from consilience.core.render.colours import OTHER, VERDICT_COLOURS, VERDICT_SIGNS, label_colours
from consilience.core.render.diagnosed_image import image_of
from consilience.core.render.drawing import FAINT, GREY, HEIGHT, MISSING, PAPER, SOFT, WIDTH, Canvas, drawable
from consilience.core.render.heat_map import HeatMap
from consilience.core.render.phrases import (
    alternatives,
    claims_no_label,
    likely,
    novelty_words,
    one_line,
    origin,
    percent,
    title,
)
from consilience.core.render.tables import AgentRow, agent_rows, posterior_rows
from consilience.core.storage.atomic_write import write_atomically

Legend: TypeAlias = Mapping[str, tuple[str, str]]
"""For each label its name as it can be drawn, and its colour."""

# All in pixels, upwards from the lower edge.
MARGIN = 36
LEFT, RIGHT = MARGIN, WIDTH - MARGIN
BAND = 84
TITLES, TOP, FLOOR = 754, 736, 348
STRIP = 320
KEY = 334
IMAGE_WIDTH = 390
MAX_BARS = 9
CASES = 8


def save_picture(diagnosis: DiagnosisRecord, path: Path, heat: HeatMap | None = None) -> Path:
    """Draw the diagnosis and write it as a PNG of 1400 x 900 pixels; the file appears whole or not at all.

    Args:
        diagnosis: what to draw.
        path: of the file.
        heat: is drawn over the image.

    Returns:
        `path`.

    Raises:
        ImageError: the image was not kept, and its source cannot be loaded or holds another image by now.
        ConsilienceError: the file cannot be written.
    """
    picture = drawn(diagnosis, image_of(diagnosis), heat)
    try:
        write_atomically(path, picture, shared=True)
    except OSError as cause:
        remedy = "choose another file, in a folder with free space that this user may write to"
        if not path.parent.exists():
            remedy = f"create the folder '{path.parent}' first"
        raise ConsilienceError(f"the picture cannot be written to '{path}' ({cause.strerror}); {remedy}") from cause
    return path


def drawn(diagnosis: DiagnosisRecord, image: Image, heat: HeatMap | None = None) -> bytes:
    """Return the bytes of the PNG that `save_picture` writes; `image` is the image, or a smaller copy."""
    canvas = Canvas()
    legend = _legend(diagnosis)
    _draw_verdict(canvas, diagnosis, legend)
    _draw_image(canvas, image, heat, legend)
    _draw_posterior(canvas, diagnosis, legend, 460, 330)
    _draw_agents(canvas, diagnosis, legend, 828, 424)
    _draw_cases(canvas, diagnosis, legend)
    canvas.text(LEFT, 24, f"Image {origin(diagnosis)}", size=9, colour=SOFT, room=RIGHT - LEFT - 340)
    if canvas.lacks_a_font:
        canvas.text(RIGHT, 24, f"{MISSING} a character that no installed font has", size=9, colour=SOFT, right=True)
    return canvas.png()


def _draw_image(canvas: Canvas, image: Image, heat: HeatMap | None, legend: Legend) -> None:
    picture, height = PIL.Image.fromarray(image.pixels), TITLES + 8 - FLOOR
    if heat is not None:
        picture.thumbnail((IMAGE_WIDTH, height), reducing_gap=3.0)
        (name, colour), (other, other_colour) = legend[heat.label], legend[heat.other]
        picture = heat.over(picture, colour, other_colour)
        canvas.box(LEFT, KEY - 5, 10, 10, colour)
        taken = canvas.text(LEFT + 16, KEY, f"speaks for {name}", size=9, room=170)
        canvas.box(LEFT + taken + 32, KEY - 5, 10, 10, other_colour)
        canvas.text(LEFT + taken + 48, KEY, f"for {other}", size=9, room=IMAGE_WIDTH - taken - 48)
    canvas.picture(picture, LEFT, FLOOR, IMAGE_WIDTH, height)


def _legend(diagnosis: DiagnosisRecord) -> dict[str, tuple[str, str]]:
    """Return the legend; names that cannot be drawn whole are told apart by their number in the task's order."""
    names = {label: drawable(one_line(label)) for label in diagnosis.posterior}
    return {
        label: (names[label] + (f" (label {number})" if MISSING in names[label] else ""), colour)
        for number, (label, colour) in enumerate(label_colours(diagnosis).items(), start=1)
    }


def _draw_verdict(canvas: Canvas, diagnosis: DiagnosisRecord, legend: Legend) -> None:
    canvas.box(0, HEIGHT - BAND, WIDTH, BAND, VERDICT_COLOURS[diagnosis.verdict])
    word = "confident" if diagnosis.settled else "refer to a person"
    y = HEIGHT - BAND / 2
    badge = canvas.text(
        RIGHT, y, f"{VERDICT_SIGNS[diagnosis.verdict]} {word}", size=17, colour=PAPER, bold=True, right=True
    )
    room = RIGHT - LEFT - badge - 40
    if claims_no_label(diagnosis):
        canvas.text(LEFT, y, title(diagnosis), size=22, colour=PAPER, bold=True, room=room)
    else:
        _draw_label(canvas, diagnosis, legend, y, room)
    facts = [f"Prediction set: {', '.join(map(one_line, diagnosis.prediction_set))}"]
    if diagnosis.reasons:
        facts.insert(0, f"Why: {'. '.join(map(one_line, diagnosis.reasons))}")
    canvas.text(LEFT, 793, "    ".join(facts), colour=SOFT, room=RIGHT - LEFT)


def _draw_label(canvas: Canvas, diagnosis: DiagnosisRecord, legend: Legend, y: float, room: float) -> None:
    others = "" if diagnosis.settled else alternatives(diagnosis)
    if others:
        canvas.text(LEFT, y - 24, f"could also be {others}", size=12, colour=PAPER, room=room)
        y += 12
    name = legend[diagnosis.label][0]
    words = name if diagnosis.settled else f"{likely(diagnosis)} {name}"
    taken = canvas.text(LEFT, y, words, size=22, colour=PAPER, bold=True, room=room - 240)
    canvas.text(LEFT + taken, y, f", {percent(diagnosis.probability)}", size=22, colour=PAPER, bold=True)


def _pitch(rows: int) -> float:
    """Return the pixels from one row to the next: the words, the bar below them and a gap."""
    return min(64.0, (TOP - FLOOR) / max(rows, 1))


def _draw_bar(canvas: Canvas, x: float, y: float, width: float, height: float, share: float, colour: str) -> None:
    canvas.box(x, y, width, height, FAINT)
    canvas.box(x, y, width * share, height, colour)


def _draw_posterior(canvas: Canvas, diagnosis: DiagnosisRecord, legend: Legend, x: float, width: float) -> None:
    canvas.text(x, TITLES, "Posterior", size=13, bold=True)
    rows = posterior_rows(diagnosis, MAX_BARS)
    pitch = _pitch(len(rows))
    for i, row in enumerate(rows):
        y = TOP - 14 - pitch * i
        taken = canvas.text(x + width, y, percent(row.share), bold=i == 0, right=True)
        name = row.name if row.label is None else legend[row.label][0]
        canvas.text(x, y, name, bold=i == 0, room=width - taken - 12)
        _draw_bar(canvas, x, y - 12 - 0.3 * pitch, width, 0.3 * pitch, row.share, row.colour)


def _draw_agents(canvas: Canvas, diagnosis: DiagnosisRecord, legend: Legend, x: float, width: float) -> None:
    canvas.text(x, TITLES, "Agents", size=13, bold=True)
    canvas.text(RIGHT, TITLES, "share of the weight", size=10, colour=SOFT, right=True)
    rows = agent_rows(diagnosis.predictions)
    shown = _weightiest(rows)
    left_out = len(rows) - len(shown)
    pitch = _pitch(len(shown) + (left_out > 0))
    for i, row in enumerate(shown):
        y = TOP - 14 - pitch * i
        bottom, height = y - 12 - 0.3 * pitch, 0.3 * pitch
        _draw_prediction_words(canvas, row, legend, x, y, width)
        _draw_prediction_bar(canvas, row, legend, x, bottom, width, height)
        canvas.text(RIGHT, y, "–" if row.share is None else percent(row.share), right=True)
        _draw_bar(canvas, RIGHT - 92, bottom, 92, height, row.share or 0.0, SOFT)
    if left_out:
        canvas.text(x, TOP - 14 - pitch * len(shown), f"and {left_out} more", colour=SOFT)


def _weightiest(rows: list[AgentRow]) -> list[AgentRow]:
    """Return the rows for which there is room, in their order; those that did not answer are kept first."""
    if len(rows) <= MAX_BARS:
        return rows
    weights = [math.inf if row.probabilities is None else row.share or 0.0 for row in rows]
    kept = sorted(sorted(range(len(rows)), key=lambda i: -weights[i])[: MAX_BARS - 1])
    return [rows[i] for i in kept]


def _draw_prediction_words(canvas: Canvas, row: AgentRow, legend: Legend, x: float, y: float, width: float) -> None:
    taken = canvas.text(x, y, one_line(row.prediction.agent), bold=True, room=0.4 * width)
    if row.prediction.stage == "second":
        taken += 8 + canvas.text(x + taken + 8, y, "second look", size=9, colour=SOFT)
    if row.label is None or row.probabilities is None:
        words = row.outcome if row.prediction.error is None else row.note
        canvas.text(x + width, y, words, colour=SOFT, room=width - taken - 16, right=True)
        return
    number = canvas.text(x + width, y, percent(row.probabilities[row.label]), right=True)
    name = legend[row.label][0] + ("" if row.prediction.calibrated else " (raw)")
    canvas.text(x + width - number - 8, y, name, room=width - taken - number - 24, right=True)


def _draw_prediction_bar(
    canvas: Canvas, row: AgentRow, legend: Legend, x: float, y: float, width: float, height: float
) -> None:
    """Draw the probabilities side by side, highest first; hatched if there are none."""
    if row.probabilities is None:
        canvas.box(x, y, width, height, PAPER, edge=GREY, hatch="////")
        return
    canvas.box(x, y, width, height, OTHER)
    for label, share in sorted(row.probabilities.items(), key=lambda pair: -pair[1]):
        if width * share < 0.5:  # what is too narrow to be seen stays grey: there may be thousands of labels
            return
        canvas.box(x, y, width * share, height, legend[label][1])
        x += width * share


def _draw_cases(canvas: Canvas, diagnosis: DiagnosisRecord, legend: Legend) -> None:
    """Draw the strip of retrieved cases, each framed in the colour of its label."""
    evidence, side, pitch = diagnosis.evidence, 150, (RIGHT - LEFT) / CASES
    y = STRIP - 50 - side
    canvas.box(LEFT, STRIP, RIGHT - LEFT, 1, GREY)
    taken = canvas.text(LEFT, STRIP - 26, "Most similar cases", size=13, bold=True)
    canvas.text(LEFT + taken + 16, STRIP - 26, novelty_words(evidence, diagnosis.novelty), size=10, colour=SOFT)
    if not evidence.neighbours:
        canvas.box(LEFT, y, RIGHT - LEFT, side, FAINT)
    for i, neighbour in enumerate(evidence.neighbours[:CASES]):
        x = round(LEFT + pitch * i)
        name, colour = legend.get(neighbour.label, (one_line(neighbour.label), OTHER))
        canvas.box(x, y, side, side, colour)
        canvas.box(x + 5, y + 5, side - 10, side - 10, FAINT)
        case = _case_picture(neighbour)
        if case is None:
            canvas.text(x + side / 2 + 32, y + side / 2, "no picture", size=9, colour=SOFT, right=True)
        else:
            canvas.picture(case, x + 5, y + 5, side - 10, side - 10, centred=True)
        canvas.text(x, y - 18, name, room=side)
        canvas.text(x, y - 40, f"similarity {neighbour.similarity:.3f}", size=9, colour=SOFT)


def _case_picture(neighbour: Neighbour) -> PIL.Image.Image | None:
    jpeg = neighbour.thumbnail()
    return None if jpeg is None else PIL.Image.fromarray(load_image(jpeg, name=f"thumbnail {neighbour.id}").pixels)
