"""`consilience fit`, `add`, `add-label` and `remove`: commands that write a panel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consilience.frontends.cli.options import PATH, collected, json_option, panel_option, settings_options
from consilience.frontends.cli.outcome import Failure, complain, complain_of, finish

if TYPE_CHECKING:
    from consilience.core.settings.settings import PolicySettings
    from consilience.orchestrator.fitting.fit import FitReport

NAMES_SHOWN = 5
"""Files that were passed over which are listed, before 'and so many more'."""


@click.command()
@click.argument("source", type=PATH, metavar="FOLDER")
@panel_option
@click.option("--encoder", metavar="NAME", help="'embedded' (default) or 'open_clip:<model>:<tag or checkpoint>'.")
@click.option("--agents", metavar="A,B", help="Agents to fit on the encoder, or 'auto' to choose; default: the usual.")
@click.option("--task", "task_file", type=PATH, metavar="FILE", help="A YAML file that describes the labels.")
@click.option("--unlabelled", type=PATH, metavar="FOLDER", help="Other images to learn from, too, at any depth.")
@click.option("--overwrite", is_flag=True, help="Replace a panel that is there.")
@json_option
@settings_options
def fit(
    source: Path,
    panel: Path,
    encoder: str | None,
    agents: str | None,
    task_file: Path | None,
    unlabelled: Path | None,
    overwrite: bool,
    as_json: bool,
    settings_file: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Turn labelled images into a panel.

    FOLDER has one subfolder for each label, or train/ and val/ above them; or it is an .npz of vectors with the arrays
    embeddings, labels and names.

    With few labels, --unlabelled helps most: other images of the same kinds, of which nobody needs to know the label.
    """
    import consilience
    from consilience.frontends.cli.terminal import console, progress_on

    settings = collected(settings_file, assignments, encoder=encoder, agents=agents)
    task = consilience.Task.from_file(task_file) if task_file is not None else None
    with progress_on(console(stderr=True)) as progress:
        report = consilience.fit(
            source,
            panel,
            task=task,
            unlabelled=unlabelled,
            settings=settings,
            overwrite=overwrite,
            progress=progress,
        )
    _name_what_was_left_out(report)
    _print_fitted(report, settings.policy, as_json)
    finish(len(report.panel.labelled_images), len(report.failed) + len(report.images.conflicts))


def _name_what_was_left_out(report: FitReport) -> None:
    complain_of(report.failed)
    for conflict in report.images.conflicts:
        complain("kept out", str(conflict))
    if report.ignored:
        names = ", ".join(f"'{path}'" for path in report.ignored[:NAMES_SHOWN])
        more = len(report.ignored) - NAMES_SHOWN
        complain("passed over", names + (f" and {more} more" if more > 0 else ""))


def _print_fitted(report: FitReport, policy: PolicySettings, as_json: bool) -> None:
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.panel_text import facts, threshold_words, trust_table
    from consilience.frontends.cli.terminal import console, print_json

    out, fitted = console(), facts(report.panel, policy)
    if as_json:
        fitted["images"] = {
            "added": report.images.added,
            "skipped": report.images.skipped,
            "kept_out": [
                [{"image": name, "label": label} for name, label in one.images] for one in report.images.conflicts
            ],
            "failed": [one.to_dict() for one in report.failed],
            "ignored": [str(path) for path in report.ignored],
        }
        fitted["cost_usd"] = report.cost_usd
        print_json(out, json.dumps(fitted, ensure_ascii=False))
        return
    out.print(
        trust_table(fitted["agents"]),
        "",
        threshold_words(fitted["policy"]),
        *map(one_line, fitted["warnings"]),
        sep="\n",
    )
    out.print(
        f"Panel '{one_line(fitted['panel'])}': {report.images.added:,} images, {len(fitted['labels'])} labels, "
        f"encoder {one_line(fitted['encoder']['name'])}"
        + (f"; learned from {fitted['unlabelled']:,} unlabelled images, too" if fitted["unlabelled"] else "")
        + (f"; answers cost {report.cost_usd:.4f} USD" if report.cost_usd else "")
    )


@click.command()
@click.argument("images", type=PATH, nargs=-1, required=True, metavar="IMAGE_OR_FOLDER...")
@click.option("--label", required=True, help="What the images show: a label of the panel.")
@panel_option
@settings_options
def add(
    images: tuple[Path, ...], label: str, panel: Path, settings_file: Path | None, assignments: tuple[str, ...]
) -> None:
    """Add labelled images to a panel's memory.

    The agents learn from them at once; their calibration and trust stay as `fit` measured them.
    """
    import consilience
    from consilience.core.dataset import LabelledImage
    from consilience.frontends.cli.terminal import console, progress_on

    settings = collected(settings_file, assignments)
    paths = _all_images(images)
    with progress_on(console(stderr=True)) as progress:
        report = consilience.add(
            panel, [LabelledImage(path, label) for path in paths], settings=settings, progress=progress
        )
    _name_what_was_left_out(report)
    already = f"; {report.images.skipped:,} were there already" if report.images.skipped else ""
    console().print(f"{report.images.added:,} images added{already}")
    finish(report.images.added + report.images.skipped, len(report.failed) + len(report.images.conflicts))


@click.command("add-label")
@click.argument("name", metavar="LABEL")
@click.argument("images", type=PATH, nargs=-1, required=True, metavar="IMAGE_OR_FOLDER...")
@panel_option
@click.option("--description", "descriptions", multiple=True, metavar="TEXT", help="What it looks like; many times.")
@click.option("--synonym", "synonyms", multiple=True, metavar="NAME", help="Another name of it; many times.")
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
    """Give a panel one more label, from some images of it.

    No image that the panel holds is embedded again; calibration and trust are measured for the larger set of labels.
    Agents that see images are asked about the new ones alone: their trust stays an estimate until a new fit. To be able
    to go back to the old labels, copy the panel's folder before.
    """
    import consilience
    from consilience.frontends.cli.terminal import console, progress_on
    from consilience.orchestrator.fitting.new_label import add_label as add_to_panel

    settings, paths = collected(settings_file, assignments), _all_images(images)
    label = consilience.Task.label(name, descriptions, synonyms)
    with progress_on(console(stderr=True)) as progress:
        report = add_to_panel(panel, label, paths, settings=settings, progress=progress)
    _name_what_was_left_out(report)
    _print_fitted(report, settings.policy, as_json)
    finish(report.images.added, len(report.failed) + len(report.images.conflicts))


def _all_images(given: tuple[Path, ...]) -> list[Path]:
    """The files, with those in folders."""
    from consilience.core.dataset import images_below

    paths = [path for one in given for path in (images_below(one) if os.path.isdir(one) else [one])]
    if not paths:
        raise Failure("there are no images in what was given")
    return paths


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@panel_option
@settings_options
def remove(names: tuple[str, ...], panel: Path, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Take images out of a panel's memory.

    NAME is the path that an image was given by, or its identity. All are taken out, or none.
    """
    import consilience
    from consilience.frontends.cli.terminal import console

    unknown = consilience.remove(panel, names, settings=collected(settings_file, assignments))
    if unknown:
        raise Failure(f"nothing was removed: the panel does not hold {', '.join(map(repr, unknown))}")
    console().print(f"{len(set(names)):,} images removed")
