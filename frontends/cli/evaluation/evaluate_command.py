"""`consilience evaluate`: how a panel does on labelled images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import (
    PATH,
    choice_options,
    collected,
    json_option,
    panel_option,
    settings_options,
)
from consilience.frontends.cli.outcome import complain, finish

if TYPE_CHECKING:
    from rich.table import Table

    from consilience.evals.evaluation import Evaluation
    from consilience.evals.figures import EvaluationMetrics, Figures
    from consilience.evals.novelty_detection import KnownNovel
    from consilience.evals.run_log import Tally

PROBLEMS_SHOWN = 5
"""Names that are listed before 'and so many more'."""


@click.command()
@click.argument("source", type=PATH, metavar="SOURCE")
@panel_option
@click.option("--out", required=True, type=PATH, metavar="DIR", help="Where rows, figures and report are written.")
@click.option("--agents-only", is_flag=True, help="Let the agents look once, and judge only them.")
@choice_options
@click.option("--drop-leaks", is_flag=True, help="Leave out images that the panel has learned from.")
@click.option("--novel", type=PATH, metavar="FOLDER", help="Images of no known label: are they told from the others?")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="What decides.")
@click.option("--ray-address", metavar="ADDRESS", help="A Ray cluster: HOST:PORT, or auto.")
@click.option("--ray-workers", type=click.IntRange(min=1), metavar="N", help="Workers on Ray; otherwise one a CPU.")
@json_option
@settings_options
def evaluate(
    source: Path,
    panel: Path,
    out: Path,
    agents_only: bool,
    sample: int | None,
    limit: int | None,
    seed: int | None,
    renamed: dict[str, str],
    drop_leaks: bool,
    novel: Path | None,
    engine: str,
    ray_address: str | None,
    ray_workers: int | None,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Evaluate a panel on labelled images.

    SOURCE has one subfolder for each label; or it is a manifest (.csv or .parquet) with the columns path and label, or
    an .npz of vectors as for `fit`. The same command again goes on where it was, however it ended.
    """
    from consilience.evals import evaluate as run
    from consilience.evals.engines.ray_engine import Cluster
    from consilience.frontends.cli.terminal import console, print_json, progress_on

    if engine == "local" and (ray_address or ray_workers):
        raise click.UsageError("--ray-address and --ray-workers need --engine ray")
    settings = collected(settings_file, assignments, seed=seed)
    try:
        with progress_on(console(stderr=True)) as report:
            done = run(
                source,
                panel,
                out,
                settings=settings,
                agents_only=agents_only,
                sample=sample,
                limit=limit,
                renamed=renamed,
                drop_leaks=drop_leaks,
                novel=novel,
                cluster=Cluster(ray_address, ray_workers) if engine == "ray" else None,
                watch=lambda tally, _: report("evaluating", tally.done, tally.total, words_of(tally)),
            )
    except KeyboardInterrupt:
        complain("to go on", "run the same command again; what was decided is kept")
        raise
    name_problems(done)
    if as_json:
        print_json(console(), json.dumps(done.metrics.to_dict(), ensure_ascii=False))
    else:
        _show(done)
    finish(done.metrics.n, done.metrics.errors)


def words_of(tally: Tally) -> str:
    """Running accuracy with its interval, errors and cost so far."""
    from consilience.core.render.phrases import percent
    from consilience.evals.scores import accuracy_interval

    words = []
    if tally.answered:
        low, high = accuracy_interval(tally.right, tally.answered)
        words.append(f"{percent(tally.right / tally.answered)} right ({percent(low)} to {percent(high)})")
    if tally.errors:
        words.append(f"{tally.errors:,} errors")
    if tally.cost_usd:
        words.append(f"{tally.cost_usd:.4f} USD")
    return ", ".join(words)


def name_problems(
    done: Evaluation, of_leaks: str = "they flatter the figures; leave them out with --drop-leaks"
) -> None:
    """What a user must know: images that could not be used, labels without any, files passed over, leaks."""
    for _, error in done.failed():
        complain("error", error)
    for label in done.unseen:
        complain("warning", f"no image has the label '{label}': nothing can be said about it")
    if done.ignored:
        complain("passed over", listed([str(path) for path in done.ignored]))
    if leaks := list(done.leaks()):
        what = "left out" if done.metrics.left_out else of_leaks
        complain("warning", f"the panel has learned from {len(leaks):,} of the images ({listed(leaks)}): {what}")


def listed(names: Sequence[str], total: int | None = None) -> str:
    """The first few of so many names, in quotes."""
    more = (len(names) if total is None else total) - PROBLEMS_SHOWN
    return ", ".join(f"'{name}'" for name in names[:PROBLEMS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _show(done: Evaluation) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.terminal import console

    out, metrics = console(), done.metrics
    out.print(_table(metrics), "", sep="\n")
    if metrics.novelty is not None:
        out.print(_novelty_table(metrics.novelty), "", sep="\n")
    for sentence in filter(None, [say(metrics) for say in SENTENCES]):
        out.print(sentence)
    report = done.out / "report.html"
    out.print(f"Written to '{one_line(str(report if report.exists() else done.out))}'")


def _table(metrics: EvaluationMetrics) -> Table:
    from consilience.core.render.phrases import one_line, percent
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Who", "Images", "Accuracy", "95 % interval", "F1", "ECE", "raw ECE", "OCR", "CCC", "AURC")
    rows: list[Figures] = [*metrics.agents, *([metrics.fusion] if metrics.fusion is not None else [])]
    for one in rows:
        known = [
            "–" if one.accuracy is None else percent(one.accuracy),
            "–" if one.accuracy is None else f"{percent(one.low)} to {percent(one.high)}",
            "–" if one.macro_f1 is None else f"{one.macro_f1:.3f}",
            f"{one.ece:.3f}",
            "" if one.raw is None else f"{one.raw.ece:.3f}",
            f"{one.ocr:.3f}",
            f"{one.ccc:.2f}",
            "–" if one.aurc is None else f"{one.aurc:.4f}",
        ]
        table.add_row(one_line(one.who), f"{one.n:,}", *known, style="bold" if one is metrics.fusion else None)
    return table


def _novelty_table(found: KnownNovel) -> Table:
    from consilience.core.render.phrases import percent
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Novelty by", "Known", "Novel", "AUROC", "FPR at 95 %")
    for name, one in {**found.signs, "score": found.score}.items():
        figures = f"{one.auroc:.3f}", percent(one.fpr_at_95)
        style = "bold" if name == "score" else None
        table.add_row(name, f"{found.known:,}", f"{found.novel:,}", *figures, style=style)
    return table


def _novelty(metrics: EvaluationMetrics) -> str:
    from consilience.core.render.phrases import percent

    found = metrics.novelty
    if found is None:
        return ""
    return (
        f"Called novel: {percent(found.novel_called)} of the novel images, {percent(found.known_called)} of the known"
    )


def _sets(metrics: EvaluationMetrics) -> str:
    from consilience.core.render.phrases import percent

    found = metrics.prediction_sets
    if found is None or found.coverage is None:
        return ""
    return (
        f"Prediction sets hold the label of {percent(found.coverage)} of the images ({percent(found.low)} to "
        f"{percent(found.high)}), with {found.mean_size:.2f} labels on average"
    )


def _difference(metrics: EvaluationMetrics) -> str:
    found = metrics.difference
    if found is None or metrics.best_agent is None:
        return ""
    return (
        f"Fusion against its best agent, {metrics.best_agent}: {100 * found.difference:+.1f} points "
        f"({100 * found.low:+.1f} to {100 * found.high:+.1f}); {found.only_first:,} images only the fusion has right, "
        f"{found.only_second:,} only the agent (McNemar's exact test: p = {found.p_value:.3g})"
    )


def _settled(metrics: EvaluationMetrics) -> str:
    from consilience.core.render.phrases import percent

    found = metrics.settled
    if found is None or found.share is None:
        return ""
    right = ""
    if found.accuracy is not None:
        right = f", {percent(found.accuracy)} of those right ({percent(found.low)} to {percent(found.high)})"
    return f"Settled {percent(found.share)} of the images{right}"


def _second_looks(metrics: EvaluationMetrics) -> str:
    found = metrics.second_looks
    changes = [
        f"{who} {one.better:,} for better, {one.worse:,} for worse"
        for who, one in [*found.agents.items(), *([("fusion", found.fusion)] if found.fusion is not None else [])]
    ]
    return f"Second looks on {found.images:,} images changed: {'; '.join(changes)}" if found.images else ""


def _cost(metrics: EvaluationMetrics) -> str:
    rate = "" if metrics.images_per_second is None else f", {metrics.images_per_second:,.1f} images a second"
    cost = f"; {metrics.cost_usd:.4f} USD" if metrics.cost_usd else ""
    return f"{metrics.images:,} images in {metrics.seconds:,.1f} s{rate}{cost}"


SENTENCES: tuple[Callable[[EvaluationMetrics], str], ...] = (
    _difference,
    _settled,
    _sets,
    _novelty,
    _second_looks,
    _cost,
)
"""What is said below the table; nothing where there is nothing to say."""
