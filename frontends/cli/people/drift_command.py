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
    """Check whether agents have become worse.

    Compares each agent's accuracy on images that people confirmed or corrected with its accuracy when the panel was
    fitted. Says which agent fell, since when, and how probable such a fall is by chance (corrected for the number of
    agents).
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
        report = drift_of(Panel.open(panel), history, seed=settings.seed)
    if as_json:
        print_json(out, json.dumps(report.to_dict(), ensure_ascii=False))
        return
    table = figures_table(
        "Agent", "At fit", "Confirmed", "Accuracy", "Worse since", "Accuracy since", "Chance of that", ""
    )
    for agent in report.agents:
        since, recent = ("–", "–")
        if agent.since is not None and agent.recent is not None and agent.low is not None and agent.high is not None:
            since = f"{agent.since:%Y-%m-%d %H:%M}"
            recent = (
                f"{percent(agent.recent)} of {agent.recent_images} ({100 * agent.low:.0f} to {100 * agent.high:.0f} %)"
            )
        table.add_row(
            one_line(look_name(agent.agent, agent.stage)),
            f"{percent(agent.fitted)} of {agent.fitted_images:,}",
            f"{agent.confirmed:,}",
            "–" if agent.accuracy is None else percent(agent.accuracy),
            since,
            recent,
            f"{agent.p_value:.3f}",
            "worse" if agent.has_fallen else "",
            style="bold" if agent.has_fallen else None,
        )
    out.print(table)
    out.print(
        f"People confirmed or corrected {report.confirmed:,} of {report.diagnosed:,} diagnoses; {report.corrected:,} "
        "of those were wrong. People correct mistakes more often than they confirm what is right, so agents can look "
        "worse than they are.",
        style="dim",
    )
