"""`consilience fit`, `add`, `add-label` and `remove`: commands that write a panel."""

from __future__ import annotations

import json
import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consilience.frontends.cli.asked_addresses import ask_about_addresses
from consilience.frontends.cli.asked_spending import ask_about_spending
from consilience.frontends.cli.named_images import with_folders
from consilience.frontends.cli.options import (
    PATH,
    answers_option,
    collected,
    json_option,
    panel_option,
    settings_options,
)
from consilience.frontends.cli.outcome import Failure, complain, complain_of, complain_of_agents, finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consilience.core.settings.settings import Settings
    from consilience.evals.evaluation import Evaluation
    from consilience.orchestrator.fitting.fit import FitReport

NAMES_SHOWN = 5
"""Files that were passed over which are listed, before 'and so many more'."""


@click.command()
@click.argument("source", type=PATH, metavar="FOLDER")
@panel_option
@click.option(
    "--encoder",
    "encoders",
    metavar="NAME",
    multiple=True,
    help="The encoder, 'efficientnet-lite0' by default; `consilience encoders` lists them. Several look side by side.",
)
@click.option("--agents", metavar="A,B", help="The agents, with commas between; 'auto' chooses the best ones.")
@click.option("--task", "task_file", type=PATH, metavar="FILE", help="A YAML file that describes the labels.")
@click.option(
    "--group",
    metavar="PATTERN",
    help="Which images show one thing: a pattern such as '{group}-*.jpg', 'parent' for their folder, or 'none'.",
)
@click.option(
    "--unlabelled", type=PATH, metavar="FOLDER", help="Images without labels to learn from as well, in any subfolder."
)
@answers_option
@click.option("--overwrite", is_flag=True, help="Replace the panel if there is one.")
@click.option(
    "--cross-validate",
    "folds",
    type=click.IntRange(min=2),
    metavar="N",
    help="Also judge each image of a table of answers by what the other N - 1 parts of it teach; needs --out.",
)
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the report, figures and rows of --cross-validate.")
@click.option(
    "--no-truth", is_flag=True, help="Estimate the trust in agents from how far their answers agree; promises nothing."
)
@json_option
@settings_options
def fit(
    source: Path,
    panel: Path,
    encoders: tuple[str, ...],
    agents: str | None,
    task_file: Path | None,
    group: str | None,
    unlabelled: Path | None,
    answers: Path | None,
    overwrite: bool,
    folds: int | None,
    out: Path | None,
    no_truth: bool,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Turn labelled images into a panel.

    FOLDER has one subfolder for each label, or train/ and val/ with such subfolders. It may also be a manifest (.csv,
    .parquet or .jsonl) with path, label and, if known, group; or an .npz file of vectors, with the arrays embeddings,
    labels and names.

    Images of one thing stay together whenever something is measured. What shows one thing is found: copies, bursts, and
    what looks nearly the same. Where you know it, say so with --group or in a manifest.

    With few labelled images, --unlabelled helps most: more images of the same kind, whose labels nobody needs to know.

    Models or people that have answered about these images join the panel with --answers.

    Without images, it is a table (.csv, .parquet or .jsonl) of what models or people answered: with image, agent, truth
    and label, or a column for each agent. The panel then weighs such answers.

    Where no truth is known, --no-truth estimates what each agent is worth from how far they agree.
    """
    import consilience
    from consilience.core.sources.answer_table import is_answer_table
    from consilience.frontends.cli.terminal import console, progress_on

    if (folds is None) != (out is None):
        raise click.UsageError("--cross-validate and --out need each other.")
    if no_truth and (folds is not None or group):
        raise click.UsageError("--cross-validate and --group take images whose truth is known; leave out --no-truth.")
    settings = collected(settings_file, assignments, encoders=encoders or None, agents=agents)
    task = consilience.Task.from_file(task_file) if task_file is not None else None
    if is_answer_table(source):
        if encoders or agents or unlabelled or answers:
            raise click.UsageError("--encoder, --agents, --unlabelled and --answers go with images; here are answers.")
        arguments: dict[str, Any] = {"task": task, "group": group, "settings": settings}
        report = _fit_answers(source, panel, arguments, truth=not no_truth, overwrite=overwrite)
        judged = None if folds is None or out is None else _cross_validated(source, out, folds, arguments)
        _print_fitted(report, settings, as_json, judged)
        return
    if no_truth:
        raise click.UsageError("--no-truth is for a table of answers: an image without a label teaches no agent.")
    if folds is not None:
        raise click.UsageError("--cross-validate is for a table of answers; judge a panel of images with `evaluate`.")
    with progress_on(console(stderr=True)) as progress:
        report = consilience.fit(
            source,
            panel,
            task=task,
            group=group,
            unlabelled=unlabelled,
            answers=answers,
            settings=settings,
            overwrite=overwrite,
            progress=progress,
            confirm=partial(ask_about_spending, settings.policy, progress),
        )
    _name_what_was_left_out(report)
    _print_fitted(report, settings, as_json)
    left_out = len(report.failed) + len(report.images.conflicts)
    is_unanswered = complain_of_agents(report.unanswered) or not report.all_answered
    finish(len(report.panel.labelled_images), left_out, is_unanswered)


def _fit_answers(source: Path, panel: Path, arguments: Mapping[str, Any], *, truth: bool, overwrite: bool) -> FitReport:
    """Fit a panel on a table of answers, and say what was left out; `arguments`: those that `cross_validate` shares."""
    import consilience
    from consilience.frontends.cli.terminal import console, progress_on

    with progress_on(console(stderr=True)) as progress:
        report = consilience.fit_answers(
            source, panel, **arguments, truth=truth, overwrite=overwrite, progress=progress
        )
    for aside in report.asides:
        complain("left out", aside)
    return report


def _cross_validated(source: Path, out: Path, folds: int, arguments: Mapping[str, Any]) -> Evaluation:
    from consilience.evals.cross_validation import cross_validate
    from consilience.frontends.cli.evaluation.evaluate_command import words_of
    from consilience.frontends.cli.terminal import console, progress_on

    with progress_on(console(stderr=True)) as progress:
        return cross_validate(
            source,
            out,
            folds=folds,
            watch=lambda tally, _: progress("cross-validating", tally.done, tally.total, words_of(tally)),
            **arguments,
        )


def _name_what_was_left_out(report: FitReport) -> None:
    complain_of(report.failed)
    for conflict in report.images.conflicts:
        complain("left out", str(conflict))
    if report.by_products:
        folders = ", ".join(dict.fromkeys(f"'{path.parent}'" for path in report.by_products[:NAMES_SHOWN]))
        complain(
            "left out", f"{len(report.by_products):,} files that other programs made beside your photos, in {folders}"
        )
    for aside in report.asides:
        complain("note", aside)
    if report.ignored:
        names = ", ".join(f"'{path}'" for path in report.ignored[:NAMES_SHOWN])
        more = len(report.ignored) - NAMES_SHOWN
        complain("ignored", names + (f" and {more} more" if more > 0 else ""))


def _print_fitted(
    report: FitReport, settings: Settings, as_json: bool, cross_validation: Evaluation | None = None
) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.evaluation.evaluate_command import show_evaluation
    from consilience.frontends.cli.panel_text import claim_words, facts, grouping_words, threshold_words, trust_table
    from consilience.frontends.cli.terminal import console, print_json

    out, fitted = console(), facts(report.panel, settings.policy, settings.decision)
    if as_json:
        fitted["images"] = {
            "added": report.images.added,
            "skipped": report.images.skipped,
            "kept_out": [
                [{"image": name, "label": label} for name, label in conflict.images]
                for conflict in report.images.conflicts
            ],
            "failed": [failure.to_dict() for failure in report.failed],
            "ignored": [str(path) for path in report.ignored],
            "by_products": len(report.by_products),
        }
        fitted["cost_usd"] = report.cost_usd
        if cross_validation is not None:
            fitted["cross_validation"] = cross_validation.metrics.to_dict()
        print_json(out, json.dumps(fitted, ensure_ascii=False))
        return
    out.print(
        trust_table(fitted["agents"]),
        "",
        *claim_words(fitted["claim"]),
        *grouping_words(fitted["grouping"], shlex.quote(one_line(fitted["panel"]))),
        threshold_words(fitted["policy"]),
        *map(one_line, fitted["warnings"]),
        sep="\n",
    )
    out.print(
        f"Panel '{one_line(fitted['panel'])}': "
        + (f"{report.images.added:,} images" if fitted["agreement"] is None else "no image with a truth")
        + f", {len(fitted['labels'])} labels, "
        + (f"encoder {one_line(fitted['encoder']['name'])}" if fitted["encoder"] else "answers alone")
        + (f"; {fitted['unlabelled']:,} unlabelled images helped" if fitted["unlabelled"] else "")
        + (f"; the models' answers cost {report.cost_usd:.4f} USD" if report.cost_usd else "")
    )
    if cross_validation is not None:
        out.print("", "Each image judged by what the other parts of the table teach:", "", sep="\n")
        show_evaluation(cross_validation)
    given = "IMAGE" if fitted["encoder"] else "ANSWERS.csv"
    out.print(
        f"Next: consilience diagnose {given} --panel {shlex.quote(one_line(fitted['panel']))}",
        style="dim",
        soft_wrap=True,
    )


@click.command()
@click.argument("images", type=PATH, nargs=-1, required=True, metavar="IMAGE_OR_FOLDER...")
@click.option("--label", required=True, help="The label of all these images; the panel must know it.")
@panel_option
@settings_options
def add(
    images: tuple[Path, ...], label: str, panel: Path, settings_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """Add labelled images to a panel.

    The agents learn from them at once. Calibration and trust stay as `consilience fit` measured them.
    """
    import consilience
    from consilience.core.dataset import LabelledImage
    from consilience.core.render.phrases import counted
    from consilience.frontends.cli.terminal import console, progress_on

    settings = collected(settings_file, assignments)
    paths = _all_images(images, settings)
    with progress_on(console(stderr=True)) as progress:
        report = consilience.add(
            panel, [LabelledImage(path, label) for path in paths], settings=settings, progress=progress
        )
    _name_what_was_left_out(report)
    skipped = report.images.skipped
    already = f"; {skipped:,} {'was' if skipped == 1 else 'were'} already in the panel" if skipped else ""
    console().print(f"{counted(report.images.added)} added{already}")
    finish(report.images.added + report.images.skipped, len(report.failed) + len(report.images.conflicts))


@click.command("add-label")
@click.argument("name", metavar="LABEL")
@click.argument("images", type=PATH, nargs=-1, required=True, metavar="IMAGE_OR_FOLDER...")
@panel_option
@click.option(
    "--description",
    "descriptions",
    multiple=True,
    metavar="TEXT",
    help="What the label looks like; may be given many times.",
)
@click.option(
    "--synonym", "synonyms", multiple=True, metavar="NAME", help="Another name of the label; may be given many times."
)
@json_option
@settings_options
def add_label(
    name: str,
    images: tuple[Path, ...],
    panel: Path,
    descriptions: tuple[str, ...],
    synonyms: tuple[str, ...],
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Teach a panel one more label, from images of it.

    Calibration and trust are measured anew for all labels. Models that look at images are asked about the new images
    only, so their trust is an estimate until the next `consilience fit`. This cannot be undone: copy the panel's
    folder first if you may want it back.
    """
    import consilience
    from consilience.frontends.cli.terminal import console, progress_on
    from consilience.orchestrator.fitting.new_label import add_label as add_to_panel

    settings = collected(settings_file, assignments)
    ask_about_addresses(panel, settings)
    paths = _all_images(images, settings)
    label = consilience.Task.label(name, descriptions, synonyms)
    with progress_on(console(stderr=True)) as progress:
        report = add_to_panel(panel, label, paths, settings=settings, progress=progress)
    _name_what_was_left_out(report)
    _print_fitted(report, settings, as_json)
    finish(report.images.added, len(report.failed) + len(report.images.conflicts))


def _all_images(names: Iterable[Path], settings: Settings) -> list[Path]:
    """Return the files, with all those in folders. Raises Failure: there are none."""
    paths = [*map(Path, with_folders(map(str, names), settings.images.follow_links))]
    if all(map(os.path.isdir, paths)):
        raise Failure("no images were found: give image files, or folders that hold some")
    return paths


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@panel_option
@settings_options
def remove(names: tuple[str, ...], panel: Path, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Remove images from a panel.

    NAME is the path by which an image was added, or its identity. Either all are removed or, if one is unknown, none.
    """
    import consilience
    from consilience.core.render.phrases import counted
    from consilience.frontends.cli.terminal import console

    unknown = consilience.remove(panel, names, settings=collected(settings_file, assignments))
    if unknown:
        raise Failure(f"nothing was removed, because the panel has no image named {', '.join(map(repr, unknown))}")
    console().print(f"{counted(len(set(names)))} removed")
