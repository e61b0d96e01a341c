"""A diagnosis as Markdown; its texts are escaped, so that none becomes markup."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.render.phrases import (
    headline,
    novelty_words,
    one_line,
    origin,
    percent,
    reading_words,
    reasons_of,
)
from consilience.core.render.tables import (
    AGENT_COLUMNS,
    CASE_COLUMNS,
    agent_cells,
    agent_rows,
    case_cells,
    posterior_rows,
)

_BAR = 20
_LABELS = 10
_MARKDOWN = str.maketrans(
    {"\\": "&#92;", "|": "&#124;", "<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
    | {sign: f"\\{sign}" for sign in "`*_[]~$#"}
)


def markdown(diagnosis: DiagnosisRecord) -> str:
    """Return the diagnosis as a short page of Markdown (CommonMark with tables), aligned to be read as text too."""
    parts = [f"### {_markdown_text(headline(diagnosis))}"]
    if diagnosis.reasons:
        parts.append(f"Why a person should look: {_markdown_text(reasons_of(diagnosis))}.")
    if diagnosis.image_note:
        parts.append(_markdown_text(reading_words(diagnosis)))
    posterior = posterior_rows(diagnosis, _LABELS)
    bars = [(row.name, percent(row.share), "█" * round(_BAR * row.share)) for row in posterior]
    parts.append(_markdown_table(("Label", "Posterior", ""), bars, numbers={1}))
    if rationale := one_line(diagnosis.rationale, 2000):
        parts.append(f"Rationale: {_markdown_text(rationale)}")
    agents = agent_rows(diagnosis.predictions, diagnosis.trust)
    cells = agent_cells(agents, AGENT_COLUMNS)
    parts.append(_markdown_table(AGENT_COLUMNS, cells, numbers=set(range(2, len(AGENT_COLUMNS)))))
    if notes := [f"- **{_markdown_text(row.name)}**: {_markdown_text(row.note)}" for row in agents if row.note]:
        parts.append("\n".join(notes))
    if cases := [case_cells(neighbour) for neighbour in diagnosis.evidence.neighbours]:
        parts.append(_markdown_table(CASE_COLUMNS, cases, numbers={1}))
    parts.append(_markdown_text(novelty_words(diagnosis.evidence, diagnosis.novelty, diagnosis.novelty_signs)))
    parts.append(f"Image {_markdown_text(origin(diagnosis))}")
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    """Return Markdown that shows a line as it is; not to be put at the start of a block."""
    inert = text.translate(_MARKDOWN).replace("://", "&#58;//")
    return re.sub(r"(?i)(www)\.", r"\1&#46;", inert)  # some dialects turn bare addresses into links


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    cells = [list(columns), *([_markdown_text(cell) for cell in row] for row in rows)]
    widths = [max(3, *map(_columns_of_text, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width - 1) + (":" if i in numbers else "-") for i, width in enumerate(widths)]
    return "\n".join(
        "| " + " | ".join(_padded(cell, widths[i], i in numbers) for i, cell in enumerate(row)) + " |"
        for row in (cells[0], rule, *cells[1:])
    )


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _columns_of_text(cell))
    return space + cell if right else cell + space


def _columns_of_text(text: str) -> int:
    """Return how many columns of a terminal it takes: two for East Asian wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)
