"""`consilience replay`: the orchestrator over recorded answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.frontends.cli.options import PATH, collected, json_option, settings_options
from consilience.frontends.cli.outcome import Failure, complain, finish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from consilience.evals.scores import Score


@click.command()
@click.argument("recording", type=PATH, metavar="CSV")
@click.option("--trust", type=PATH, metavar="JSON", help="ECE, OCR and CCC of the agents' first looks.")
@click.option("--out", required=True, type=PATH, metavar="DIR", help="Folder for metrics.json.")
@click.option(
    "--memory", type=PATH, metavar="NPZ", help="Vectors of known images; without them retrieval is not weighed."
)
@click.option(
    "--calibrate-on", type=PATH, metavar="CSV", help="Recorded answers to learn trust from, instead of --trust."
)
@click.option(
    "--beside", type=click.Choice(["I", "III"]), help="Show the accuracies of this experiment of the paper beside ours."
)
@click.option("--task", "task_file", type=PATH, metavar="FILE", help="A YAML file that describes the labels.")
@json_option
@settings_options
def replay(
    recording: Path,
    trust: Path | None,
    out: Path,
    memory: Path | None,
    calibrate_on: Path | None,
    beside: str | None,
    task_file: Path | None,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Weigh recorded answers of agents again.

    CSV has a row for each image, with the columns id, Image and Category; for each agent its label as <Agent> and its
    confidence as <Agent>_confidence (with _1 after the name for the first of two looks); and what was retrieved as
    RAG_response. Category, the right label, is used only to count what is right in the end.
    """
    from consilience.core.progress import quiet
    from consilience.core.task import Task
    from consilience.evals.paper import replay as replaying
    from consilience.evals.paper.recordings import read_recording
    from consilience.orchestrator.fitting.ingest import ingest

    if trust is None and calibrate_on is None:
        raise click.UsageError("Give --trust or --calibrate-on: without either, nothing is known about the agents.")
    settings = collected(settings_file, assignments)
    task = Task.from_file(task_file) if task_file is not None else None
    member = None
    if memory is not None:
        known = ingest(memory, task, settings, quiet)
        task = known.task
        member = replaying.neighbours_member(known.labelled_images, task, settings)
    if calibrate_on is not None:
        labelled, labels = read_recording(calibrate_on, task)
        recorded, truths = read_recording(recording, labelled.task)
        weigher = replaying.from_labelled(recorded, labelled, labels, member, settings)
    elif trust is not None:
        recorded, truths = read_recording(recording, task)
        weigher = replaying.from_summary(recorded, replaying.read_trust(trust), member, settings)
    conclusions = replaying.replay(recorded, weigher)
    scores = replaying.compare(conclusions, recorded, truths)
    metrics = replaying.figures(conclusions, recorded, weigher, scores)
    _write(out, metrics)
    _show(metrics, scores, beside, as_json)
    failed = [row for row in conclusions if not row["posterior"]]
    if failed:
        complain("error", f"no agent answered on {len(failed):,} of {len(conclusions):,} rows")
    finish(len(conclusions) - len(failed), len(failed))


def _write(folder: Path, metrics: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(metrics, ensure_ascii=False, allow_nan=False, indent=1)
        (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    except OSError as cause:
        raise Failure(f"'{folder / 'metrics.json'}' cannot be written: {cause.strerror}") from cause


def _show(metrics: dict[str, Any], scores: Sequence[Score], beside: str | None, as_json: bool) -> None:
    from consilience.core.render.phrases import percent
    from consilience.evals.paper.published import PUBLISHED
    from consilience.frontends.cli.terminal import console, print_json

    out = console()
    if as_json:
        print_json(out, json.dumps(metrics, ensure_ascii=False))
        return
    again, cost = metrics["second_looks"], metrics["cost_usd"]
    out.print(_table(scores, PUBLISHED[beside] if beside is not None else {}))
    if beside is not None:
        out.print(_published_words(PUBLISHED))
    out.print(
        f"Second looks on {again['rows']:,} of {metrics['rows']:,} rows ({percent(again['share'])}); the answers "
        f"that were used cost {cost['replayed']:.4f} USD, all recorded ones {cost['recorded']:.4f} USD"
    )


def _published_words(published: Mapping[str, Mapping[str, float]]) -> str:
    """Return the accuracy of the best agent and of the orchestrator in the paper's three experiments, in a sentence."""
    from consilience.core.render.phrases import percent
    from consilience.evals.paper.replay import RECORDED

    experiments = [
        f"{name} {percent(max(share for who, share in accuracies.items() if who != RECORDED))} and "
        f"{percent(accuracies[RECORDED])}"
        for name, accuracies in published.items()
    ]
    return f"Published accuracy of the best agent and of the paper's orchestrator: {', '.join(experiments)}"


def _table(scores: Sequence[Score], published: Mapping[str, float]) -> Table:
    """Return a table of accuracy with its 95 % interval and the figures of trust, a row for each who was scored.

    Args:
        published: accuracies by who was scored; a column of its own if there are any.
    """
    from consilience.core.render.phrases import one_line, percent
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Who", "Images", "Accuracy", "95 % interval", "ECE", "OCR", "CCC", "Brier")
    if published:
        table.add_column("Published", justify="right", no_wrap=True)
    for score in scores:
        known = [f"{score.ece:.3f}", f"{score.ocr:.3f}", f"{score.ccc:.2f}", f"{score.brier:.3f}"]
        accuracy = [percent(score.accuracy), f"{percent(score.low)} to {percent(score.high)}"]
        beside = [percent(published[score.who])] if score.who in published else []
        table.add_row(one_line(score.who), f"{score.n:,}", *(accuracy + known if score.n else ["–"] * 6), *beside)
    return table
