"""How well panels tell small defects in large images: woven cloth with broken, doubled and missing threads.

    python -m consilience.evals.benchmarks.woven
    python -m consilience.evals.benchmarks.woven --eyes efficientnet-lite0 --eyes 'efficientnet-lite0 + texture'

Each draw makes cloths of its own: an image a label of each of them. A panel is fitted on some, cloth by cloth, and
judged by the others: with the first eyes that are named, then with the others, on the same images. An interval counts
cloths, not images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import PIL.Image

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError, EvaluationError
from consilience.core.settings.settings import Settings, load_settings
from consilience.evals.benchmarks.grouped import mean_of
from consilience.evals.benchmarks.woven.woven_images import LABELS, cloths
from consilience.evals.scores import FUSION, scores
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit
from consilience.retrieval.encoders.side_by_side import BESIDE

GROUP = "{group}.jpg"
"""Which images show one cloth: those whose files have one name."""

FIT, JUDGED = "fit", "judged"
"""Folders of the images to fit on, and to judge by."""


@dataclass(frozen=True)
class ClothAccuracy:
    """How the panel of one draw with some eyes did.

    Attributes:
        eyes: names of its encoders. seed: of the draw.
        accuracy: of its agents' first looks, by name, and of the fusion.
        by_label: share of each label's images that were called so.
        right: of each cloth the share of its images that were called rightly.
    """

    eyes: str
    seed: int
    accuracy: dict[str, float]
    by_label: dict[str, float]
    right: tuple[float, ...]


def write_images(folder: Path, to_fit: int, to_judge: int, seed: int) -> None:
    """Write the images of so many cloths each, as JPEG files of quality 95."""
    for number, images in enumerate(cloths(to_fit + to_judge, seed)):
        for label, pixels in images.items():
            place = folder / (FIT if number < to_fit else JUDGED) / label
            place.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(place / f"cloth{number}.jpg", quality=95)


def accuracy_with(folder: Path, eyes: str, seed: int, settings: Settings) -> ClothAccuracy:
    """Return how a panel with these eyes does; `folder`: as `write_images` left it.

    Raises:
        EncoderError: an encoder cannot be opened. EvaluationError: an image could not be judged.
    """
    settings = settings.model_copy(update={"encoders": tuple(eyes.split(BESIDE)), "seed": seed})
    files = {label: sorted((folder / JUDGED / label).iterdir()) for label in LABELS}
    truths = [label for label in LABELS for _ in files[label]]
    with TemporaryDirectory() as panel:
        fit(folder / FIT, Path(panel) / "panel", group=GROUP, settings=settings)
        with Diagnoser.open(Path(panel) / "panel", settings=settings) as diagnoser:
            results = [*diagnoser.diagnose_many(path for paths in files.values() for path in paths)]
    diagnoses = [result for result in results if isinstance(result, Diagnosis)]
    if len(diagnoses) < len(results):
        raise EvaluationError(f"with '{eyes}', {len(results) - len(diagnoses)} images could not be judged")
    right = np.array([diagnosis.label == truth for diagnosis, truth in zip(diagnoses, truths, strict=True)])
    by_label = right.reshape(len(LABELS), -1)
    return ClothAccuracy(
        eyes,
        seed,
        {score.who: score.accuracy for score in scores(diagnoses, truths)},
        dict(zip(LABELS, by_label.mean(axis=1).tolist(), strict=True)),
        tuple(by_label.mean(axis=0).tolist()),
    )


def accuracies(
    eyes: Sequence[str], to_fit: int, to_judge: int, draws: int, settings: Settings
) -> Iterator[ClothAccuracy]:
    """Yield the accuracy of each draw with each of the eyes; draws differ by their seed, the first is the settings'."""
    for seed in range(settings.seed, settings.seed + draws):
        with TemporaryDirectory() as folder:
            write_images(Path(folder), to_fit, to_judge, seed)
            for each in eyes:
                yield accuracy_with(Path(folder), each, seed, settings)


def text_of(found: Sequence[ClothAccuracy]) -> str:
    """Return the figures of all draws: of each of the eyes, and how they differ from the first."""
    by_eyes = {
        eyes: [each for each in found if each.eyes == eyes] for eyes in dict.fromkeys(draw.eyes for draw in found)
    }
    lines, first = list[str](), np.concatenate([each.right for each in by_eyes[found[0].eyes]])
    for eyes, draws in by_eyes.items():
        right = np.concatenate([draw.right for draw in draws])
        lines.append(f"{eyes}: accuracy {mean_of(right.tolist())}, " + _means([draw.by_label for draw in draws]))
        if eyes != found[0].eyes:
            lines.append(f"  beyond the first: {mean_of((right - first).tolist())}")
        agents = [{who: value for who, value in draw.accuracy.items() if who != FUSION} for draw in draws]
        lines.append(f"  agents: {_means(agents)}")
    return "\n".join(lines)


def _means(draws: Sequence[dict[str, float]]) -> str:
    return ", ".join(f"{name} {np.mean([draw[name] for draw in draws if name in draw]):.3f}" for name in draws[0])


@click.command()
@click.option("--eyes", multiple=True, default=("efficientnet-lite0",), help="Encoders of a panel; repeat to compare.")
@click.option("--cloths", "to_fit", type=click.IntRange(2), default=150, show_default=True, help="Cloths to fit on.")
@click.option("--judged", "to_judge", type=click.IntRange(1), default=50, show_default=True, help="Cloths to judge by.")
@click.option("--draws", type=click.IntRange(1), default=3, show_default=True, help="Draws of cloths.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first draw.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(eyes: tuple[str, ...], to_fit: int, to_judge: int, draws: int, seed: int, file: Path | None) -> None:
    """Measure panels on woven cloth with small defects."""
    try:
        found = [*accuracies(tuple(dict.fromkeys(eyes)), to_fit, to_judge, draws, load_settings(seed=seed))]
    except ConsilienceError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{draws} draws from seed {seed}: fitted on {to_fit} cloths, judged by {to_judge}, an image a label of each"
    )
    click.echo(text_of(found))
    if file is not None:
        file.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
