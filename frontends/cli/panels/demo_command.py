"""`consilience demo`: the whole way on a real inspection set, from labelled images to a picture of one diagnosis."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from consilience.core.errors import PanelDamagedError, PanelError, PanelMissingError
from consilience.frontends.cli.options import PATH

if TYPE_CHECKING:
    from rich.console import Console

    from consilience.core.diagnosis import Diagnosis
    from consilience.core.progress import Progress
    from consilience.frontends.cli.panels.solar_cells import SolarCell, SolarCellSplit
    from consilience.orchestrator.diagnoser import Diagnoser

DOMAIN = "electroluminescence image of a solar cell"
TO_FIT = 1000
SEED = 0


@click.command()
@click.option(
    "--out",
    type=PATH,
    default="consilience-demo",
    show_default=True,
    metavar="DIR",
    help="Folder for the panel and the picture.",
)
def demo(out: Path) -> None:
    """Try Consilience on images of solar cells.

    Fits a panel on 1,000 labelled images, diagnoses the others, and writes the panel and a picture of one diagnosis to
    DIR. The images come with the extra 'demo': pip install 'consilience[demo]'
    """
    from consilience.frontends.cli.panels.solar_cells import read_cells, split

    run(split(read_cells(), TO_FIT, SEED), out)


def run(cells: SolarCellSplit, out: Path) -> None:
    """Fit a panel in `out`/panel, diagnose, print what came of it, and write `out`/diagnosis.png.

    Raises:
        PanelError: `out` holds another panel than the demo's.
    """
    from consilience.core.render.phrases import percent
    from consilience.frontends.cli.diagnosis_text import detail_of
    from consilience.frontends.cli.terminal import console, progress_on
    from consilience.orchestrator.diagnoser import Diagnoser

    panel, shown = out / "panel", console()
    _refuse_another_panel(panel)
    _introduce(cells, shown)
    with progress_on(console(stderr=True)) as progress:
        started = time.monotonic()
        _fit(cells.fit, panel, progress)
        fitted = time.monotonic()
        with Diagnoser.open(panel) as diagnoser:
            held_out = _diagnosed(diagnoser, cells.held_out, "diagnosing held-out cells", progress)
            between = _diagnosed(diagnoser, cells.between, "diagnosing cells in between", progress)
    seconds = time.monotonic() - fitted
    shown.print(
        f"Fitted in {fitted - started:.0f} s; diagnosed in {seconds:.0f} s, "
        f"{(len(held_out) + len(between)) / seconds:.0f} images a second."
    )
    truths = [str(cell.label) for cell in cells.held_out]
    _print_scores(held_out, truths, shown)
    _print_verdicts(held_out, truths, between, shown)
    cell, diagnosis = most_disputed(cells.between, between)
    people = f"people saw a defect with a probability of {percent(cell.defect_probability)}"
    shown.print(f"\nThe cell in between on which the agents disagree most ({people}):\n", style="bold")
    shown.print(detail_of(diagnosis))
    picture = diagnosis.save_picture(out / "diagnosis.png")
    shown.print(f"\nThe same as a picture: {picture}", soft_wrap=True)
    shown.print("Next, your own images: consilience fit FOLDER --panel DIR", style="dim")


def most_disputed(cells: Sequence[SolarCell], diagnoses: Sequence[Diagnosis]) -> tuple[SolarCell, Diagnosis]:
    """Return the cell on which the greatest share of the weight disagrees; a referred one if there is any."""

    def against(diagnosis: Diagnosis) -> float:
        words = [
            (prediction.weight or 0.0, prediction.calibrated)
            for prediction in diagnosis.predictions
            if prediction.calibrated is not None
        ]
        against = sum(
            weight for weight, calibrated in words if max(calibrated, key=calibrated.__getitem__) != diagnosis.label
        )
        return against / (sum(weight for weight, _ in words) or 1.0)

    return max(zip(cells, diagnoses, strict=True), key=lambda pair: (not pair[1].settled, against(pair[1])))


def _introduce(cells: SolarCellSplit, shown: Console) -> None:
    total = len(cells.fit) + len(cells.held_out) + len(cells.between)
    shown.print(f"{total:,} electroluminescence images of solar cells: functional or defective?", style="bold")
    shown.print(
        f"{len(cells.fit):,} to fit on, {len(cells.held_out):,} held out to measure the panel, "
        f"and {len(cells.between):,} in between, on which the people who labelled them were not sure.\n"
        "Data: elpv-dataset, CC BY-NC-SA 4.0, Deitsch et al. 2021. "
        f"Drawn at random (seed {SEED}), so cells of the same solar module are on both sides: "
        "cells of a new module would be harder.\n"
    )


def _refuse_another_panel(panel: Path) -> None:
    from consilience.orchestrator.panel.panel import Panel

    with suppress(PanelMissingError, PanelDamagedError):
        if Panel.open(panel).task.domain != DOMAIN:
            raise PanelError(f"'{panel}' holds another panel than the demo's: name another folder with --out")


def _fit(cells: Sequence[SolarCell], panel: Path, progress: Progress) -> None:
    import consilience
    from consilience.frontends.cli.panels.solar_cells import LABELS, lay_out

    task = consilience.Task.from_labels(list(LABELS.values()), domain=DOMAIN)
    with TemporaryDirectory(prefix="consilience-demo-") as folder:
        lay_out(cells, Path(folder))
        consilience.fit(
            folder, panel, task=task, seed=SEED, images__follow_links=True, overwrite=True, progress=progress
        )


def _diagnosed(diagnoser: Diagnoser, cells: Sequence[SolarCell], what: str, progress: Progress) -> list[Diagnosis]:
    from consilience.core.diagnosis import FailedImage

    diagnoses = []
    for result in diagnoser.diagnose_many(cell.path for cell in cells):
        if isinstance(result, FailedImage):
            raise result.error
        diagnoses.append(result)
        progress(what, len(diagnoses), len(cells))
    return diagnoses


def _print_scores(diagnoses: Sequence[Diagnosis], truths: Sequence[str], shown: Console) -> None:
    from consilience.core.render.phrases import one_line, percent
    from consilience.evals.scores import FUSION, scores
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Held-out cells", "Accuracy", "95 % interval", "ECE", "OCR", "CCC", "Share")
    for score in scores(diagnoses, truths):
        table.add_row(
            one_line(score.who),
            percent(score.accuracy),
            f"{100 * score.low:.1f} to {100 * score.high:.1f} %",
            f"{score.ece:.3f}",
            f"{score.ocr:.3f}",
            f"{score.ccc:.2f}",
            "" if score.weight is None else percent(score.weight),
            style="bold" if score.who == FUSION else None,
        )
    shown.print("", table, sep="\n")
    shown.print(
        "ECE: how far confidence is from accuracy; 0 is best. OCR: share of the images on which it is wrong but at "
        "least 80 % sure; 0 is best. CCC: how well confidence tells right from wrong; 1 is best. Share: how "
        "much of the decision is its own, on average.",
        style="dim",
    )


def _print_verdicts(
    held_out: Sequence[Diagnosis], truths: Sequence[str], between: Sequence[Diagnosis], shown: Console
) -> None:
    from consilience.core.render.phrases import percent
    from consilience.frontends.cli.panel_text import figures_table

    table = figures_table("Verdicts", "Images", "Confident", "Of those right", "Referred to a person")
    settled = [diagnosis.label == truth for diagnosis, truth in zip(held_out, truths, strict=True) if diagnosis.settled]
    right = percent(sum(settled) / len(settled)) if settled else "–"
    for name, diagnoses, correct in (("held out", held_out, right), ("in between", between, "–")):
        share = sum(diagnosis.settled for diagnosis in diagnoses) / max(len(diagnoses), 1)
        table.add_row(name, f"{len(diagnoses):,}", percent(share), correct, percent(1 - share))
    shown.print("", table, sep="\n")
