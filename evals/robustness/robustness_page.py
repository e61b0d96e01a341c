"""The page of `consilience stress`: one small file, which opens without a network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from consilience.core.storage.atomic_write import write_atomically
from consilience.evals.report.axis import Axis
from consilience.evals.report.report_page import base_css, pages, text_of
from consilience.evals.robustness.corruptions import CORRUPTIONS, STRENGTHS
from consilience.evals.robustness.robustness_metrics import Robustness

REPORT = "report.html"

CURVES = (
    ("right", "accuracy"),
    ("referred", "referred"),
    ("settled and wrong", "settled_wrong"),
    ("novelty", "novelty"),
)
"""What each drawing shows, in words and as `robustness_metrics.Condition` calls it; all are in [0, 1]."""


def write_page(robustness: Robustness, title: str) -> Path:
    """Write OUT/report.html; it replaces an earlier one whole. Raises OSError: it cannot be written."""
    template = (files("consilience.evals.robustness") / "robustness.html").read_text(encoding="utf-8")
    page = (
        pages()
        .from_string(template)
        .render(
            style=base_css() + text_of("style.css"),
            title=title,
            robustness=robustness,
            metrics=robustness.clean.metrics,
            corruptions=CORRUPTIONS,
            curves=CURVES,
            x=Axis(0.0, float(STRENGTHS[-1]), 46, 290),
            y=Axis(0.0, 1.0, 196, 10),
        )
    )
    path = robustness.out / REPORT
    write_atomically(path, page)
    return path
