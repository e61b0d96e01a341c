"""A diagnosis in the terminal: in detail, or on a line among many."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consilience.core.diagnosis import Diagnosis
from consilience.core.evidence import Neighbour
from consilience.core.prediction import Prediction
from consilience.core.render.colours import VERDICT_COLOURS, VERDICT_SIGNS
from consilience.core.render.phrases import (
    claim,
    headline,
    novelty_words,
    one_line,
    origin,
    percent,
    reading_words,
    reasons_of,
)
from consilience.core.render.tables import (
    CASE_COLUMNS,
    NARROW_AGENT_COLUMNS,
    AgentRow,
    agent_cells,
    agent_rows,
    case_cells,
    posterior_rows,
)
from consilience.frontends.cli.panel_text import figures_table
from consilience.frontends.cli.terminal import table

BAR = 30
LABELS, CASES = 8, 5
SIGN_STYLES = {"confident": "blue", "refer": "yellow"}


def line_of(diagnosis: Diagnosis) -> Text:
    """Return the diagnosis on a line: verdict, label, probability and source; what it says instead of a label."""
    width, (words, figure) = min(24, max(10, *map(cell_len, diagnosis.posterior))), claim(diagnosis)
    says = set_cell_size(words, width) + f"  {figure:>11}" if figure else set_cell_size(words, width + 13)
    return Text.assemble(
        (f"{VERDICT_SIGNS[diagnosis.verdict]} {diagnosis.verdict:<9}", SIGN_STYLES[diagnosis.verdict]),
        f"  {says}",
        f"  {one_line(diagnosis.source)}",
    )


def detail_of(diagnosis: Diagnosis) -> RenderableType:
    """Return the diagnosis in detail: verdict, posterior, agents, most similar cases, novelty, rationale."""
    badge = f"bold white on {VERDICT_COLOURS[diagnosis.verdict]}"
    parts: list[RenderableType] = [Text(f" {VERDICT_SIGNS[diagnosis.verdict]} {headline(diagnosis)} ", style=badge)]
    if diagnosis.reasons:
        parts.append(Text(f"Why a person should look: {reasons_of(diagnosis)}."))
    if diagnosis.image_note:
        parts.append(Text(reading_words(diagnosis)))
    agents = agent_rows(diagnosis.predictions, diagnosis.trust)
    parts += ["", _posterior(diagnosis), "", _agents(agents), ""]
    if notes := [Text(f"{row.name}: {row.note}") for row in agents if row.note]:
        parts += [*notes, ""]
    if diagnosis.evidence.neighbours:
        parts += [_cases(diagnosis.evidence.neighbours), ""]
    parts += [
        Text(novelty_words(diagnosis.evidence, diagnosis.novelty, diagnosis.novelty_signs)),
        "",
        Text(one_line(diagnosis.rationale, 2000)),
        Text(origin(diagnosis), style="dim"),
    ]
    return Group(*parts)


def _posterior(diagnosis: Diagnosis) -> Table:
    grid = Table.grid(padding=(0, 2))
    for row in posterior_rows(diagnosis, LABELS):
        grid.add_row(row.name, Text("█" * round(BAR * row.share), style=row.colour), percent(row.share))
    return grid


def _agents(rows: Sequence[AgentRow]) -> Table:
    is_paid = any(row.prediction.tokens or row.prediction.cost_usd for row in rows)
    agents = figures_table(*NARROW_AGENT_COLUMNS, *(["Took"] if is_paid else []))
    agents.columns[1].justify = "left"
    for row, cells in zip(rows, agent_cells(rows, NARROW_AGENT_COLUMNS), strict=True):
        agents.add_row(*cells, *([_took(row.prediction)] if is_paid else []))
    return agents


def _took(prediction: Prediction) -> str:
    """Return the tokens and the cost of an answer in words; a saved answer cost nothing."""
    if prediction.cached:
        return "kept answer"
    if not prediction.tokens and not prediction.cost_usd:
        return "–"
    cost = f", {prediction.cost_usd:.4f} USD" if prediction.cost_usd else ""
    return f"{prediction.tokens:,} tokens{cost}"


def _cases(neighbours: tuple[Neighbour, ...]) -> Table:
    cases = table(*CASE_COLUMNS)
    cases.columns[1].justify = "right"
    for neighbour in neighbours[:CASES]:
        cases.add_row(*case_cells(neighbour))
    if (more := len(neighbours) - CASES) > 0:
        cases.add_row(f"and {more} more", "", "")
    return cases
