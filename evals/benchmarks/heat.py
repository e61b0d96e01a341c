"""Do heat maps point at what decides? Images with a patch whose place is known, by maps and by simple rivals.

    python -m consilience.evals.benchmarks.heat DATA [--side 0.45] [--images 60]

The images are made of those of DATA, a folder with one subfolder a label: one of them, at a smaller size, is pasted at
a random place of another one, and its label is the label of both (as Yang and Kim 2019 paste objects into scenes). A
panel (probe and gaussian) is fitted on one part of them, and judged by others, made of other images. Each map is asked
what speaks for the patch's label:

- pointing game (Zhang et al. 2018): the share of images whose strongest place lies in the patch; chance: its area.
  Where the panel is wrong no map can be right: those that it is right about are shown by themselves, too;
- deletion and insertion (Petsiuk, Das and Saenko 2018): mean probability of the label while cells are blurred, or
  blurred cells are uncovered, strongest first; deletion is better low, insertion high.

One half of the images to judge by (`--half tune`) is for choices, the other for what is reported. And the time that a
map takes, beside that of the diagnosis.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import click
import numpy as np
import PIL.Image
import PIL.ImageFilter

from consilience.core.dataset import LabelledImage, read_labelled_folder
from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError, DatasetError
from consilience.core.images import Image, load_image
from consilience.core.pixels import Pixels
from consilience.core.render.diagnosed_image import image_of
from consilience.core.settings.settings import load_settings
from consilience.evals.scores import accuracy_interval
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.grouping.given_groups import NONE
from consilience.orchestrator.heat.occlusion import BLUR, COLUMNS, ROWS

LEARNED = 600
"""Images that are made to fit on."""

STEPS = 7
"""Cells that are blurred or uncovered at a time."""

Box = tuple[int, int, int, int]
"""Top, bottom, left and right of a patch, in pixels."""

Map = Callable[[Diagnosis, str], np.ndarray]
"""From a diagnosis and a label to what speaks for the label, (height, width)."""


@dataclass(frozen=True)
class Patched:
    """An image with a patch.

    Attributes:
        box: where the patch is. label: what it shows.
    """

    pixels: Pixels
    box: Box
    label: str


@dataclass(frozen=True)
class Judgement:
    """How one map did.

    Attributes:
        hits: images whose strongest place lies in the patch. hits_of_right: those that the panel is right about.
        deletion, insertion: of the first images; NaN where none were to be tried.
    """

    hits: int
    hits_of_right: int
    deletion: float
    insertion: float


def patched(base: Pixels, donor: Pixels, label: str, side: float, rng: np.random.Generator) -> Patched:
    """Return an image with a small copy of another one in it; `side`: of the patch, over that of the image.

    The place is random, but for the centre of the image, which most large patches would cover: it is covered as often
    as the patch's share of the area says, so that pointing at it is no better than chance.
    """
    height, width = (max(1, round(side * length)) for length in base.shape[:2])
    over_centre = rng.random() < side * side
    for _ in range(1000):  # of an image of a few pixels every patch may cover the centre
        top, left = rng.integers(base.shape[0] - height + 1), rng.integers(base.shape[1] - width + 1)
        rows, columns = base.shape[0] // 2 - top, base.shape[1] // 2 - left
        if (0 <= rows < height and 0 <= columns < width) == over_centre:
            break
    made = base.copy()
    made[top : top + height, left : left + width] = np.asarray(PIL.Image.fromarray(donor).resize((width, height)))
    return Patched(made, (int(top), int(top + height), int(left), int(left + width)), label)


def hit(heat: np.ndarray, box: Box) -> bool:
    """Return whether the strongest place of a map (height, width) lies in a box."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return bool(box[0] <= row < box[1] and box[2] <= column < box[3])


def by_cell(heat: np.ndarray) -> np.ndarray:
    """Return the mean heat of each cell, (ROWS * COLUMNS,)."""
    small = PIL.Image.fromarray(np.asarray(heat, np.float32)).resize((COLUMNS, ROWS), PIL.Image.Resampling.BOX)
    return np.asarray(small).ravel()


def gradually(image: Image, order: np.ndarray, *, uncovered: bool) -> Iterator[Image]:
    """Yield the image with ever more cells blurred in this order, or blurred with ever more cells uncovered."""
    whole = PIL.Image.fromarray(image.pixels)
    blurred = whole.filter(PIL.ImageFilter.GaussianBlur(BLUR * max(whole.size)))
    for count in range(0, len(order) + 1, STEPS):
        cells = np.zeros(ROWS * COLUMNS, np.uint8)
        cells[order[:count]] = 255
        mask = PIL.Image.fromarray(cells.reshape(ROWS, COLUMNS)).resize(whole.size, PIL.Image.Resampling.NEAREST)
        over, under = (whole, blurred) if uncovered else (blurred, whole)
        yield Image.from_pixels(np.asarray(PIL.Image.composite(over, under, mask)))


def curve(diagnoser: Diagnoser, image: Image, label: str, heat: np.ndarray, *, uncovered: bool) -> float:
    """Return the mean probability of the label along the way."""
    order = np.argsort(-by_cell(heat), kind="stable")
    vectors = diagnoser.encoder.encode([*gradually(image, order, uncovered=uncovered)])
    results = diagnoser.diagnose_vectors(vectors, [f"{number}" for number in range(len(vectors))])
    return float(np.mean([result.posterior[label] for result in results if isinstance(result, Diagnosis)]))


def maps_of(diagnoser: Diagnoser, rng: np.random.Generator) -> dict[str, Map]:
    """Return the maps to compare, by name."""

    def centre(diagnosis: Diagnosis, _: str) -> np.ndarray:
        height, width = image_of(diagnosis).pixels.shape[:2]
        rows, columns = np.mgrid[0:height, 0:width]
        return np.asarray(-(((rows + 0.5) / height - 0.5) ** 2) - ((columns + 0.5) / width - 0.5) ** 2)

    return {
        "activation": lambda diagnosis, label: diagnoser.heat(diagnosis, label).for_label,
        "occlusion": lambda diagnosis, label: diagnoser.occlusion_heat(diagnosis, label).for_label,
        "centre": centre,
        "random": lambda diagnosis, _: rng.random(image_of(diagnosis).pixels.shape[:2]),
    }


def judged(
    diagnoser: Diagnoser, images: Sequence[Patched], curves: int, rng: np.random.Generator
) -> tuple[int, dict[str, Judgement]]:
    """Return how many of the images the panel is right about, and how each map did; `curves`: images for those."""
    diagnoses = [diagnoser.diagnose(image.pixels) for image in images]
    right = [diagnosis.label == image.label for diagnosis, image in zip(diagnoses, images, strict=True)]
    judgements = dict[str, Judgement]()
    for name, heat_of in maps_of(diagnoser, rng).items():
        heats = [heat_of(diagnosis, image.label) for diagnosis, image in zip(diagnoses, images, strict=True)]
        hits = [hit(heat, image.box) for heat, image in zip(heats, images, strict=True)]
        areas = [
            [
                curve(diagnoser, image_of(diagnoses[row]), images[row].label, heats[row], uncovered=way)
                for way in (False, True)
            ]
            for row in range(min(curves, len(images)))
        ]
        deletion, insertion = np.mean(areas, axis=0).tolist() if areas else (float("nan"), float("nan"))
        of_right = sum(is_hit and is_right for is_hit, is_right in zip(hits, right, strict=True))
        judgements[name] = Judgement(sum(hits), of_right, deletion, insertion)
    return sum(right), judgements


def seconds_of(diagnoser: Diagnoser, images: Sequence[Path]) -> tuple[float, float]:
    """Return the median time of a diagnosis, from the file on, and of its heat map in the image's size."""
    diagnosing, mapping = [], []
    for path in images:
        start = time.perf_counter()
        diagnosis = diagnoser.diagnose(path)
        between = time.perf_counter()
        _ = diagnoser.heat(diagnosis).for_label
        diagnosing.append(between - start)
        mapping.append(time.perf_counter() - between)
    return median(diagnosing), median(mapping)


@contextmanager
def fitted(sources: Sequence[LabelledImage], side: float, rng: np.random.Generator) -> Iterator[Diagnoser]:
    """Yield a panel that was fitted on LEARNED images made of these."""
    pixels = [load_image(image.path).pixels for image in sources]
    settings = load_settings(agents="probe,gaussian")
    with TemporaryDirectory() as folder:
        for number in range(LEARNED):
            base, donor = rng.integers(len(sources), size=2).tolist()
            made = patched(pixels[base], pixels[donor], sources[donor].label, side, rng)
            place = Path(folder) / "images" / made.label
            place.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(made.pixels).save(place / f"{number}.png")
        fit(Path(folder) / "images", Path(folder) / "panel", settings=settings, group=NONE)
        with Diagnoser.open(Path(folder) / "panel", settings=settings) as diagnoser:
            yield diagnoser


@dataclass(frozen=True)
class HeatFigures:
    """All that is measured: n images, how many the panel is right about, how each map did, seconds of both."""

    images: int
    right: int
    maps: dict[str, Judgement]
    diagnosis_seconds: float
    heat_seconds: float


def figures_of(
    source: Path, side: float, images: int, curves: int, half: Literal["tune", "report"], seed: int
) -> HeatFigures:
    """Return the figures; see the top of this module.

    Raises:
        DatasetError: the folder cannot be used. ImageError: an image in it cannot be read.
    """
    rng = np.random.default_rng(seed)
    labelled = read_labelled_folder(source).images
    order = [labelled[row] for row in rng.permutation(len(labelled))]
    count = min(4 * images, len(order) // 2)
    if count < 8:
        raise DatasetError(f"'{source}' has {len(labelled)} images: a panel and what it is judged by take 16 or more")
    judged_by = order[:count][half == "report" :: 2]
    with fitted(order[count:], side, rng) as diagnoser:
        pixels = [load_image(image.path).pixels for image in judged_by]
        labels = diagnoser.panel.task.names
        made = [
            patched(pixels[row], pixels[row + 1], judged_by[row + 1].label, side, rng)
            for row in range(0, len(pixels) - 1, 2)
            if judged_by[row + 1].label in labels
        ]
        right, maps = judged(diagnoser, made, curves, rng)
        return HeatFigures(len(made), right, maps, *seconds_of(diagnoser, [image.path for image in judged_by]))


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DATA")
@click.option("--side", type=click.FloatRange(0.05, 0.45), default=0.45, show_default=True, help="Of the patch.")
@click.option("--images", type=click.IntRange(2), default=60, show_default=True, help="To judge by, at most.")
@click.option("--curves", type=click.IntRange(0), default=20, show_default=True, help="Images to blur and uncover.")
@click.option("--half", type=click.Choice(["tune", "report"]), default="report", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(
    source: Path, side: float, images: int, curves: int, half: Literal["tune", "report"], seed: int, file: Path | None
) -> None:
    """Judge heat maps on the images of DATA with patches pasted in."""
    try:
        figures = figures_of(source, side, images, curves, half, seed)
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    n, right = figures.images, figures.right
    click.echo(f"{n} images, a patch of {side * side:.0%} of the area in each; the panel is right about {right}")
    for name, judgement in figures.maps.items():
        low, high = accuracy_interval(judgement.hits, n)
        of_right = f"{judgement.hits_of_right / right:.2f}" if right else "-"
        click.echo(
            f"{name:>10}: points into the patch {judgement.hits / n:.2f} ({low:.2f} to {high:.2f}), "
            f"of those {of_right}; deletion {judgement.deletion:.3f}, insertion {judgement.insertion:.3f}"
        )
    whole, extra = 1000 * figures.diagnosis_seconds, 1000 * figures.heat_seconds
    click.echo(f"a diagnosis {whole:.1f} ms, its map {extra:.1f} ms: {extra / whole:.1%} on top")
    if file is not None:
        file.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
