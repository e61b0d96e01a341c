"""A diagnosis in the terminal: in detail, or on a line among many."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consilience.core.diagnosis import Diagnosis
from consilience.core.evidence import Neighbour
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.colours import VERDICT_COLOURS, VERDICT_SIGNS, label_colours
from consilience.core.render.phrases import headline, novelty_words, one_line, origin, percent, ranked, source_name
from consilience.frontends.cli.panel_text import figures_table
from consilience.frontends.cli.terminal import table

BAR = 30
LABELS, CASES = 8, 5
AGENT_COLUMNS = ("Agent", "Says", "Calibrated", "Weight", "Accuracy", "ECE")
SIGN_STYLES = {"confident": "blue", "refer": "yellow"}


def line_of(diagnosis: Diagnosis) -> Text:
    """Verdict, label, posterior and source."""
    width = min(24, max(map(cell_len, diagnosis.posterior)))
    return Text.assemble(
        (f"{VERDICT_SIGNS[diagnosis.verdict]} {diagnosis.verdict:<9}", SIGN_STYLES[diagnosis.verdict]),
        f"  {set_cell_size(one_line(diagnosis.label), width)}",
        f"  {percent(diagnosis.probability):>11}",
        f"  {one_line(diagnosis.source)}",
    )


def detail_of(diagnosis: Diagnosis) -> RenderableType:
    """Verdict, posterior, agents, most similar cases, rationale."""
    badge = f"bold white on {VERDICT_COLOURS[diagnosis.verdict]}"
    parts: list[RenderableType] = [Text(f" {VERDICT_SIGNS[diagnosis.verdict]} {headline(diagnosis)} ", style=badge)]
    if diagnosis.reasons:
        parts.append(Text("Why a person should look: " + "; ".join(map(one_line, diagnosis.reasons)) + "."))
    parts += ["", _posterior(diagnosis), "", _agents(diagnosis), ""]
    if remarks := _remarks(diagnosis):
        parts += [*remarks, ""]
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
    colours = label_colours(diagnosis)
    grid = Table.grid(padding=(0, 2))
    shown, rest = ranked(diagnosis.posterior, LABELS)
    for label, share in shown:
        grid.add_row(one_line(label), Text("█" * round(BAR * share), style=colours[label]), percent(share))
    if rest:
        grid.add_row(f"{len(rest)} others", "█" * round(BAR * sum(rest)), percent(sum(rest)))
    return grid


def _agents(diagnosis: Diagnosis) -> Table:
    is_paid = any(one.tokens or one.cost_usd for one in diagnosis.predictions)
    agents = figures_table(*AGENT_COLUMNS, *(["Took"] if is_paid else []))
    agents.columns[1].justify = "left"
    for one, cells in zip(diagnosis.predictions, agent_rows(diagnosis), strict=True):
        agents.add_row(*cells, *([_took(one)] if is_paid else []))
    return agents


def agent_rows(diagnosis: Diagnosis) -> list[tuple[str, ...]]:
    """For each prediction the cells under AGENT_COLUMNS."""
    total = sum(one.weight or 0.0 for one in diagnosis.predictions)
    trusts = {(trust.agent, trust.stage): trust for trust in diagnosis.trust}
    rows: list[tuple[str, ...]] = []
    for one in diagnosis.predictions:
        trust = trusts.get((one.agent, one.stage))
        accuracy = None if trust is None else trust.accuracy
        rows.append(
            (
                one_line(look_name(one.agent, one.stage)),
                *_said(one),
                percent((one.weight or 0.0) / total) if total else "–",
                "–" if accuracy is None else percent(accuracy),
                "–" if trust is None else f"{trust.ece:.3f}",
            )
        )
    return rows


def _took(prediction: Prediction) -> str:
    """The tokens and the cost of an answer; that it was kept from an earlier time, and took nothing now."""
    if prediction.cached:
        return "kept answer"
    if not prediction.tokens and not prediction.cost_usd:
        return "–"
    cost = f", {prediction.cost_usd:.4f} USD" if prediction.cost_usd else ""
    return f"{prediction.tokens:,} tokens{cost}"


def _said(prediction: Prediction) -> tuple[str, str]:
    """The label that an agent names, and its calibrated probability."""
    shares = prediction.calibrated or prediction.probabilities
    if shares is None:
        return "failed" if prediction.error is not None else "abstained", "–"
    label = max(shares, key=shares.__getitem__)
    return one_line(label), percent(shares[label])


def _remarks(diagnosis: Diagnosis) -> list[Text]:
    """What agents said in words: their reasons and errors."""
    said = [(one, one.error or one.rationale) for one in diagnosis.predictions]
    return [Text(f"{one_line(look_name(one.agent, one.stage))}: {one_line(words)}") for one, words in said if words]


def _cases(neighbours: tuple[Neighbour, ...]) -> Table:
    cases = table("Most similar case", "Similarity", "Source")
    cases.columns[1].justify = "right"
    for one in neighbours[:CASES]:
        cases.add_row(one_line(one.label), f"{one.similarity:.3f}", source_name(one.source))
    if (more := len(neighbours) - CASES) > 0:
        cases.add_row(f"and {more} more", "", "")
    return cases
