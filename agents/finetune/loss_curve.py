"""Draws the losses of a tuning run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from consilience.core.render.drawing import INK, PAPER, SOFT


def loss_curve(curve: Sequence[Mapping[str, float]], title: str) -> bytes:
    """Return a PNG of `Course.curve`: the loss of each step and on the held-out images, in nats an answer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, facecolor=PAPER, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, name, colour, mark in (("loss", "training", SOFT, ""), ("held_out", "held out", INK, "o")):
        points = [(line["step"], line[key]) for line in curve if key in line]
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=mark, label=name)
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats an answer")
    axes.set_ylim(bottom=0)
    axes.legend()
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()
