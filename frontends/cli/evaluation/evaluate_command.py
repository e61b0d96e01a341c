"""`consilience evaluate`: how a panel does on labelled images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.asked_spending import ask_about_spending
from consilience.frontends.cli.options import (
    PATH,
    answers_option,
    choice_options,
    collected,
    json_option,
    panel_option,
    settings_options,
)
from consilience.frontends.cli.outcome import complain, complain_of_agents, finish

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
@click.option("--out", required=True, type=PATH, metavar="DIR", help="Folder for the report, the figures and the rows.")
@answers_option
@click.option("--agents-only", is_flag=True, help="Measure only the agents, by one look each.")
@choice_options
@click.option("--drop-leaks", is_flag=True, help="Leave out images that the panel has learned from.")
@click.option(
    "--novel", type=PATH, metavar="FOLDER", help="Images of no known label; measures whether they are noticed."
)
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Run here, or on Ray."
)
@click.option("--ray-address", metavar="ADDRESS", help="The Ray cluster: HOST:PORT, or auto.")
@click.option(
    "--ray-workers", type=click.IntRange(min=1), metavar="N", help="Workers on Ray; default: one for each CPU."
)
@json_option
@settings_options
def evaluate(
    source: Path,
    panel: Path,
    out: Path,
    answers: Path | None,
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
    """Measure a panel on labelled images.

    SOURCE is a folder with one subfolder for each label, a table (.csv or .parquet) with the columns path and label, or
    an .npz file of vectors; for a panel of answers, a table of answers with the truth. If it is interrupted, run the
    same command again: it continues where it stopped.
    """
    from consilience.evals import evaluate as run
    from consilience.evals.engines.ray_engine import Cluster
    from consilience.evals.report.words import unanswered
    from consilience.frontends.cli.terminal import console, print_json, progress_on

    if engine == "local" and (ray_address or ray_workers):
        raise click.UsageError("--ray-address and --ray-workers need --engine ray")
    settings = collected(settings_file, assignments, seed=seed)
    ask_about_addresses(panel, settings)
    try:
        with progress_on(console(stderr=True)) as report:
            done = run(
                source,
                panel,
                out,
                answers=answers,
                settings=settings,
                agents_only=agents_only,
                sample=sample,
                limit=limit,
                renamed=renamed,
                drop_leaks=drop_leaks,
                novel=novel,
                cluster=Cluster(ray_address, ray_workers) if engine == "ray" else None,
                confirm=partial(ask_about_spending, settings.policy, report),
                watch=lambda tally, _: report("evaluating", tally.done, tally.total, words_of(tally)),
            )
    except KeyboardInterrupt:
        complain("to continue", "run the same command again: the images that were decided are kept")
        raise
    name_problems(done)
    if as_json:
        print_json(console(), json.dumps(done.metrics.to_dict(), ensure_ascii=False))
    else:
        show_evaluation(done)
    finish(done.metrics.n, done.metrics.errors, complain_of_agents(unanswered(done.metrics.to_dict())))


def words_of(tally: Tally) -> str:
    """Return the accuracy so far with its 95 % interval, the errors and the cost, for the progress bar."""
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
    done: Evaluation, of_leaks: str = "the figures look better than they are; leave these images out with --drop-leaks"
) -> None:
    """Warn on stderr of images that could not be used, labels without images, ignored files and leaks.

    Args:
        of_leaks: what to say where images that the panel has learned from count.
    """
    for _, error in done.failed():
        complain("error", error)
    for label in done.unseen:
        complain("warning", f"no image has the label '{label}', so nothing is measured for it")
    if done.ignored:
        complain("ignored", listed([str(path) for path in done.ignored]))
    if leaks := list(done.leaks()):
        what = "they are left out" if done.metrics.left_out else of_leaks
        complain("warning", f"the panel has learned from {len(leaks):,} of the images ({listed(leaks)}): {what}")


def listed(names: Sequence[str], total: int | None = None) -> str:
    """Return the first few of `total` names in quotes: "'a.png', 'b.png' and 3 more"."""
    more = (len(names) if total is None else total) - PROBLEMS_SHOWN
    return ", ".join(f"'{name}'" for name in names[:PROBLEMS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def show_evaluation(done: Evaluation) -> None:
    """Print the figures of an evaluation as a table and in sentences, and where its report is."""
    from consilience.core.render.phrases import one_line
    from consilience.evals.report.words import shift_sentence
    from consilience.frontends.cli.terminal import console

    out, metrics = console(), done.metrics
    if sentence := shift_sentence(metrics.to_dict()):
        alarm = metrics.shift is not None and metrics.shift.alarm
        out.print(one_line(sentence), "", sep="\n", style="bold" if alarm else None)
    out.print(_table(metrics), "", sep="\n")
    if metrics.novelty is not None:
        out.print(_novelty_table(metrics.novelty), "", sep="\n")
    for sentence in filter(None, [say(metrics) for say in SENTENCES]):
        out.print(sentence)
    report = done.out / "report.html"
    out.print(f"Report: {one_line(str(report if report.exists() else done.out))}", soft_wrap=True)


def _table(metrics: EvaluationMetrics) -> Table:
    from consilience.core.render.phrases import one_line, percent
    from consilience.evals.report.words import decimals
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Who", "Images", "Accuracy", "95 % interval", "F1", "ECE", "raw ECE", "OCR", "CCC", "AURC")
    rows: list[Figures] = [*metrics.agents, *([metrics.fusion] if metrics.fusion is not None else [])]
    for figures in rows:
        known = [
            "–" if figures.accuracy is None else percent(figures.accuracy),
            "–" if figures.accuracy is None else f"{percent(figures.low)} to {percent(figures.high)}",
            decimals(figures.macro_f1, 3),
            decimals(figures.ece, 3),
            "" if figures.raw is None else decimals(figures.raw.ece, 3),
            decimals(figures.ocr, 3),
            decimals(figures.ccc, 2),
            decimals(figures.aurc, 4),
        ]
        table.add_row(
            one_line(figures.who), f"{figures.n:,}", *known, style="bold" if figures is metrics.fusion else None
        )
    return table


def _novelty_table(novelty: KnownNovel) -> Table:
    from consilience.core.render.phrases import percent
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Novelty by", "Known", "Novel", "AUROC", "FPR at 95 %")
    for name, detection in {**novelty.signs, "score": novelty.score}.items():
        figures = f"{detection.auroc:.3f}", percent(detection.fpr_at_95)
        style = "bold" if name == "score" else None
        table.add_row(name, f"{novelty.known:,}", f"{novelty.novel:,}", *figures, style=style)
    return table


def _novelty(metrics: EvaluationMetrics) -> str:
    from consilience.core.render.phrases import percent

    novelty = metrics.novelty
    if novelty is None:
        return ""
    return (
        f"Called unlike the known images: {percent(novelty.novel_called)} of the {novelty.novel:,} images of no known "
        f"label, and {percent(novelty.known_called)} of the {novelty.known:,} others."
    )


def _sets(metrics: EvaluationMetrics) -> str:
    from consilience.core.render.phrases import percent

    sets = metrics.prediction_sets
    if sets is None or sets.coverage is None:
        return ""
    return (
        f"The prediction sets hold the right label for {percent(sets.coverage)} of the images (95 % interval "
        f"{percent(sets.low)} to {percent(sets.high)}); on average they hold {sets.mean_size:.2f} labels."
    )


def _difference(metrics: EvaluationMetrics) -> str:
    difference = metrics.difference
    if difference is None or metrics.best_agent is None:
        return ""
    return (
        f"Accuracy of the fusion minus that of its best agent, {metrics.best_agent}: "
        f"{100 * difference.difference:+.1f} percentage points (95 % interval {100 * difference.low:+.1f} to "
        f"{100 * difference.high:+.1f}). Only the fusion is right on {difference.only_first:,} images, only the agent "
        f"on {difference.only_second:,} (McNemar's exact test: p = {difference.p_value:.3g})."
    )


def _settled(metrics: EvaluationMetrics) -> str:
    from consilience.core.render.phrases import percent

    settled = metrics.settled
    if settled is None or settled.share is None:
        return ""
    right = ""
    if settled.accuracy is not None:
        interval = f"95 % interval {percent(settled.low)} to {percent(settled.high)}"
        right = f"; {percent(settled.accuracy)} of those are right ({interval})"
    return f"Settled without a person: {percent(settled.share)} of the images{right}."


def _costs(metrics: EvaluationMetrics) -> str:
    from consilience.evals.report.words import cost_words

    return "" if metrics.costs is None else cost_words(asdict(metrics.costs))


def _second_looks(metrics: EvaluationMetrics) -> str:
    second_looks = metrics.second_looks
    changes = [
        f"{who}: {change.better:,} answers became right, {change.worse:,} became wrong"
        for who, change in [
            *second_looks.agents.items(),
            *([("fusion", second_looks.fusion)] if second_looks.fusion is not None else []),
        ]
    ]
    return f"Second looks on {second_looks.images:,} images. {'; '.join(changes)}." if second_looks.images else ""


def _cost(metrics: EvaluationMetrics) -> str:
    rate = "" if metrics.images_per_second is None else f", {metrics.images_per_second:,.1f} images a second"
    cost = f"; {metrics.cost_usd:.4f} USD" if metrics.cost_usd else ""
    return f"{metrics.images:,} images in {metrics.seconds:,.1f} s{rate}{cost}."


SENTENCES: tuple[Callable[[EvaluationMetrics], str], ...] = (
    _difference,
    _settled,
    _costs,
    _sets,
    _novelty,
    _second_looks,
    _cost,
)
"""What is said below the table; nothing where there is nothing to say."""
