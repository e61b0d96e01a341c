"""`consilience show`, `check` and `graph`: commands that only look."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.frontends.cli.options import PATH, collected, json_option, panel_argument, settings_options
from consilience.frontends.cli.outcome import Failure, complain

if TYPE_CHECKING:
    from rich.table import Table

    from consilience.core.settings.settings import Settings
    from consilience.orchestrator.feedback.streams import Stream
    from consilience.orchestrator.panel.panel import Panel


@click.command()
@panel_argument
@json_option
@click.option("--groups", type=PATH, metavar="FILE", help="Write a page with pictures of the groups to FILE (.html).")
@settings_options
def show(
    panel: Path, as_json: bool, groups: Path | None, settings_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """Show what a panel holds.

    Its labels and images, its encoder, its agents with the trust that each has earned and what each adds, and which
    images it decides without a person.
    """
    from consilience.core.render.phrases import one_line
    from consilience.core.storage.panel_folder import open_panel_folder
    from consilience.frontends.cli.panel_text import (
        choice_words,
        claim_words,
        contribution_words,
        facts,
        grouping_words,
        stream_words,
        threshold_words,
        trust_table,
        worth_lines,
    )
    from consilience.frontends.cli.terminal import console, print_json
    from consilience.orchestrator.panel.model_addresses import unconfirmed_addresses
    from consilience.orchestrator.panel.panel import Panel

    settings = collected(settings_file, assignments)
    manifest = open_panel_folder(panel).manifest
    opened = Panel.open(panel)
    streams = [stream.to_dict() for stream in _streams(opened, settings)]
    held = facts(opened, settings.policy, settings.decision) | {"streams": streams}
    held["unconfirmed"] = sorted(unconfirmed_addresses(panel, settings)[1])
    if groups is not None:
        _write_groups(opened, groups)
    form = {key: manifest[key] for key in ("id", "format", "generation", "written", "written_by")}
    size = sum(file["bytes"] for file in manifest["files"].values())
    out = console()
    if as_json:
        print_json(out, json.dumps({**held, **form, "bytes": size}, ensure_ascii=False))
        return
    closing = [
        *map(stream_words, held["streams"]),
        *claim_words(held["claim"]),
        *grouping_words(held["grouping"], shlex.quote(one_line(str(panel)))),
        threshold_words(held["policy"]),
        *worth_lines(held["policy"]),
        *held["warnings"],
    ]
    added = (one_line(words, 500) for words in contribution_words(held["agents"], held["contributions"]))
    grid = _grid({"Panel": f"{one_line(str(panel))}, {size / 1e6:.1f} MB", **_rows(held, form)})
    out.print(grid, "", trust_table(held["agents"]), *added, *choice_words(held["choices"]), "", sep="\n")
    out.print(*(one_line(words, 500) for words in closing), sep="\n")


def _grid(rows: Mapping[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, words in rows.items():
        grid.add_row(Text(name, style="bold"), words)
    return grid


def _rows(held: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, str]:
    """Return by name, in words, what a panel holds; `held`: as in `facts`, `form`: of its manifest."""
    from consilience.core.render.phrases import counted, one_line
    from consilience.orchestrator.decision.case_summary import REASONER

    def unknown(name: str) -> str:
        return "; not confirmed: see consilience confirm" if name in held["unconfirmed"] else ""

    encoder = held["encoder"]
    counts = ", ".join(f"{one_line(label)} {count:,}" for label, count in held["labels"].items())
    rows = {
        "Format": f"{form['format']}, generation {form['generation']}",
        "Written": f"{form['written']} by {form['written_by']}",
        "Task": f"{one_line(held['domain'])}, {len(held['labels'])} labels",
        "Images": f"{sum(held['labels'].values()):,}: {counts}"
        if held["agreement"] is None
        else f"none with a truth; trust is estimated from agreement on {held['agreement']['images']:,}",
        "Encoder": "none: it weighs answers, and looks at no images"
        if encoder is None
        else f"{one_line(encoder['name'])}, {encoder['dimension']} numbers, fingerprint {encoder['fingerprint']}",
    }
    if held["unlabelled"]:
        rows["Unlabelled"] = f"{held['unlabelled']:,} more images without labels"
    if held["unknown"]:
        rows["Unknown"] = f"{counted(held['unknown'])} that people said to show none of the labels"
    for model in held["models"]:
        asked = f"{_place_words(model)}, confidence {model['confidence']}{unknown(model['agent'])}"
        if model["model"] is None:
            where = f"{model['at']}{unknown(model['agent'])}"
            asked = f"its answers stand in {where}; to other images in the table of --answers"
        if (most := model["pictures_a_request"]) is not None:
            asked += f", {counted(most, 'picture')} a request: similar cases come on one numbered sheet"
        rows[f"Agent {one_line(model['agent'])}"] = one_line(asked)
    if (reasoner := held["reasoner"]) is not None:
        rows["Reasoner"] = one_line(f"{_place_words(reasoner)}, role {reasoner['role']}{unknown(REASONER)}")
    return rows


def _place_words(model: Mapping[str, Any]) -> str:
    """Return which model is asked where, and with what key."""
    key = f", key in {model['key_variable']}" if model["key_variable"] else ""
    return f"{model['model']} at {model['at']}{key}"


def _streams(panel: Panel, settings: Settings) -> list[Stream]:
    """Return where the watch on each source of images stands; nothing where no history was begun."""
    from consilience.core.storage.panel_folder import HISTORY
    from consilience.orchestrator.feedback.history import History
    from consilience.orchestrator.feedback.streams import Streams

    if settings.history.url is None and not (panel.path / HISTORY).exists():
        return []
    with History.open(panel.path, settings.history) as history:
        return Streams(history.database).all(panel.shift_reference())


def _write_groups(panel: Panel, path: Path) -> None:
    from consilience.core.errors import PanelError
    from consilience.evals.report.groups_page import write_groups_page

    try:
        write_groups_page(panel, path)
    except OSError as cause:
        raise PanelError(
            f"the page '{path}' cannot be written ({cause.strerror}); choose another with --groups"
        ) from cause


@click.command()
@panel_argument
@click.option("--repair", is_flag=True, help="Rebuild the index if it is wrong.")
@settings_options
def check(panel: Path, repair: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Check that all files of a panel are whole.

    The index of its image memory is checked as well. The exit code is 0 if all is well, or was repaired.
    """
    from consilience.core.render.phrases import one_line
    from consilience.orchestrator.panel.panel import Panel

    settings = collected(settings_file, assignments)
    opened = Panel.open(panel)
    with opened.open_memory(settings.memory.url) as memory:
        health = memory.check()
        if health.problems and repair:
            for problem in health.problems:
                complain("repairing", problem)
            memory.repair()
            health = memory.check()
    if health.problems:
        remedy = (
            "the index could not be rebuilt" if repair else "run the same command with --repair to rebuild the index"
        )
        raise Failure(f"{'; '.join(health.problems)}: {remedy}")
    click.echo(
        f"'{one_line(str(panel))}' is whole: all files, and {health.count:,} images in the index '{health.index}'"
    )


@click.command()
def graph() -> None:
    """Print the steps of a diagnosis as a Mermaid diagram."""
    import numpy as np

    from consilience.core.settings.settings import PolicySettings
    from consilience.core.task import Task
    from consilience.orchestrator.decision.policy import Policy
    from consilience.orchestrator.decision.threshold import Threshold
    from consilience.orchestrator.decision.weighing import Weigher
    from consilience.orchestrator.ensemble.fusion import Fusion
    from consilience.orchestrator.graph import build_graph

    settings = PolicySettings()
    policy = Policy(settings, Threshold(None, 0.0, 0.0))
    weigher = Weigher(Task.from_labels(["one", "other"]), (), Fusion(np.empty(0)), policy)  # it is drawn, not run
    drawn = build_graph(weigher=weigher, policy=settings, neighbours=1).compile().get_graph()
    click.echo(drawn.draw_mermaid())
