"""`consilience drift`: has an agent become worse than it was when the panel was fitted?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from consilience.frontends.cli.options import collected, json_option, panel_option, settings_options


@click.command()
@panel_option
@json_option
@settings_options
def drift(panel: Path, as_json: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Say whether an agent is worse on recent, confirmed images than when the panel was fitted.

    Which one, since when, and how probable so great a fall is by chance (corrected for the number of agents).
    """
    from consilience.core.prediction import look_name
    from consilience.core.render.phrases import one_line, percent
    from consilience.frontends.cli.panel_text import figures_table
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.orchestrator.feedback.drift import drift as drift_of
    from consilience.orchestrator.feedback.history import History
    from consilience.orchestrator.panel.panel import Panel

    settings, out = collected(settings_file, assignments), console()
    with History.open(panel, settings.history) as history:
        found = drift_of(Panel.open(panel), history, seed=settings.seed)
    if as_json:
        print_json(out, json.dumps(found.to_dict(), ensure_ascii=False))
        return
    table = figures_table("Agent", "At fit", "Confirmed", "Accuracy", "Since", "From then on", "By chance", "")
    for one in found.agents:
        since, recent = ("–", "–")
        if one.since is not None and one.recent is not None and one.low is not None and one.high is not None:
            since = f"{one.since:%Y-%m-%d %H:%M}"
            recent = f"{percent(one.recent)} of {one.recent_images} ({100 * one.low:.0f} to {100 * one.high:.0f} %)"
        table.add_row(
            one_line(look_name(one.agent, one.stage)),
            f"{percent(one.fitted)} of {one.fitted_images:,}",
            f"{one.confirmed:,}",
            "–" if one.accuracy is None else percent(one.accuracy),
            since,
            recent,
            f"{one.p_value:.3f}",
            "has fallen" if one.has_fallen else "",
            style="bold" if one.has_fallen else None,
        )
    out.print(table)
    out.print(
        f"People said of {found.confirmed:,} of {found.diagnosed:,} diagnoses what is right; {found.corrected:,} of "
        "those were wrong. People correct more readily than they confirm: a fall may be theirs, not the agent's.",
        style="dim",
    )
