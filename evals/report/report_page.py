"""Fills the template of the report with figures (`metrics.json`), sentences, drawings and rows."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from consilience.core.render.colours import VERDICT_SIGNS
from consilience.core.render.phrases import one_line, source_name
from consilience.evals.report import words
from consilience.evals.report.axis import Axis, from_lowest, to_highest
from consilience.evals.report.cards import Card
from consilience.evals.report.galleries import GALLERIES, Chosen, Row
from consilience.evals.report.pictures import Pictures
from consilience.evals.report.table import RowTable
from consilience.evals.report.where_looked import Looked
from consilience.evals.report.words import Metrics

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_LABELS = 25
"""Of more labels, the confusion matrix cannot be read: the most frequent mistakes are listed instead."""


def render(
    title: str, metrics: Metrics, run: Mapping[str, Any], table: RowTable, chosen: Chosen, pictures: Pictures
) -> str:
    """Return the whole page as HTML. Raises PanelDamagedError: the pictures of similar cases cannot be read."""
    environment = pages()
    environment.filters |= {
        "source_name": source_name,
        "picture": pictures.of_neighbour,
    }

    def card(row: Row, picture: str | None, looked: Looked | None = None) -> Card:
        return Card(row, picture, table.place(row["truth"]), table.place(row["label"]), looked)

    galleries = [
        (gallery, best.seen, [card(row, *pictures.with_looks(row)) for row in best.rows()])
        for gallery, best in ((gallery, chosen.best[gallery.key]) for gallery in GALLERIES)
    ]
    looks = words.looks(metrics)
    return environment.get_template("page.html").render(
        style=base_css() + text_of("style.css"),
        script=text_of("script.js"),
        title=title,
        words=words,
        metrics=metrics,
        run=run,
        judged=words.judged(metrics),
        strangest=[
            (strange, *pictures.of_strange(strange)) for strange in (metrics.get("shift") or {}).get("strangest", ())
        ],
        looks=looks,
        labels=metrics["labels"],
        most_labels=MOST_LABELS,
        accuracy=from_lowest((figures["low"] for figures in looks if figures["n"]), 8, 200),
        coverage=Axis(0.0, 1.0, 46, 458),
        risk=to_highest((wrong for figures in looks for wrong in figures["risk_coverage"]["risk"]), 252, 10),
        sure=Axis(0.0, 1.0, 42, 238),
        right=Axis(0.0, 1.0, 196, 10),
        verdict_signs=VERDICT_SIGNS,
        galleries=galleries,
        is_looked=any(card.looked for _, _, cards in galleries for card in cards),
        by_label=[
            (label, [card(row, pictures.of_image(row)) for row in rows])
            for label in metrics["labels"]
            if (rows := chosen.of_label(label))
        ],
        table=table,
    )


def pages() -> Environment:
    """Return the templates of this folder, with the filters that all use."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(text_of), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "line": lambda text, limit=500: one_line(str(text), limit),
        "share": words.share,
        "decimals": words.decimals,
        "sha256": _sha256,
    }
    return environment


def base_css() -> str:
    """Return the style that reports share with the web page."""
    return (files("consilience.core.render") / "base.css").read_text(encoding="utf-8")


def text_of(name: str) -> str:
    """Return the text of a file of this folder."""
    return (files("consilience.evals.report") / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    """How a Content Security Policy names the one script, and the one style, that count."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
