"""How many images are refused because they cannot be judged: of held-out ones of the same draw, and of made cases.

    python -m consilience.evals.benchmarks.unjudgeable DATA...

Each DATA has train/ and test/. The bounds come from train/; held-out images of test/ should pass, and what is made of
some of them (nearly black, overexposed, blurred, blank, half missing, tiny, a drawn screenshot) should not. Mildly
changed ones (other compression, size, crop, brightness) are shown beside them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import click
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from consilience.core.dataset import read_labelled_folder
from consilience.core.errors import ConsilienceError
from consilience.core.image_quality import QualityBounds, measured
from consilience.core.images import load_image
from consilience.core.pixels import Pixels
from consilience.evals.benchmarks.protocols import TEST

TRAIN = "train"
"""The part of a labelled folder that bounds come from."""

MADE_OF = 60
"""Test images that cases are made of, at most."""

Change = Callable[[Pixels, np.random.Generator], Pixels]


def scaled_light(pixels: Pixels, factor: float, offset: float = 0.0) -> Pixels:
    """Return the image with its light times `factor`, plus `offset`."""
    return np.asarray(np.clip(pixels.astype(np.float32) * factor + offset, 0, 255), dtype=np.uint8)


def blurred(pixels: Pixels, share: float) -> Pixels:
    """Return the image under a Gaussian blur; `share`: its standard deviation over the shorter side."""
    radius = share * min(pixels.shape[:2])
    return np.asarray(PIL.Image.fromarray(pixels).filter(PIL.ImageFilter.GaussianBlur(radius)))


def half_missing(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image with its upper, lower or right half in grey or black, as files have it that were cut off."""
    made, (height, width) = pixels.copy(), pixels.shape[:2]
    parts = (slice(height // 2, None), slice(0, height // 2), (slice(None), slice(width // 2, None)))
    made[parts[rng.integers(3)]] = rng.choice([0, 128])
    return made


def resized(pixels: Pixels, factor: float) -> Pixels:
    """Return the image at another size."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(PIL.Image.fromarray(pixels).resize(size))


def compressed(pixels: Pixels, quality: int) -> Pixels:
    """Return the image as a JPEG of this quality shows it."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def screenshot(rng: np.random.Generator) -> Pixels:
    """Return a drawn desk with windows and text."""
    width, height, is_dark = int(rng.integers(800, 1600)), int(rng.integers(600, 1000)), rng.random() < 0.4
    shades, ink = ((10, 80), (220, 220, 220)) if is_dark else ((200, 256), (30, 30, 30))

    def colour(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.integers(low, high, 3).tolist())

    desk = PIL.Image.new("RGB", (width, height), colour(*shades))
    draw = PIL.ImageDraw.Draw(desk)
    for _ in range(int(rng.integers(2, 5))):
        x, y = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
        w, h = int(rng.integers(width // 4, width // 2)), int(rng.integers(height // 4, height // 2))
        draw.rectangle((x, y, x + w, y + h), fill=colour(*shades), outline=(120, 120, 120))
        draw.rectangle((x, y, x + w, y + 24), fill=colour(40, 200))
        for line in range(h // 16 - 2):
            words = "".join(rng.choice(list("abcdefghij klmnop qrs"), int(rng.integers(10, max(11, w // 7)))))
            draw.text((x + 8, y + 30 + 16 * line), words, fill=ink)
    return np.asarray(desk)


MADE: Mapping[str, Change] = {
    "nearly black": lambda pixels, rng: np.clip(pixels * 0.04 + rng.normal(0, 2, pixels.shape), 0, 255).astype(
        np.uint8
    ),
    "overexposed": lambda pixels, rng: scaled_light(pixels, 6.0, 60.0),
    "washed out": lambda pixels, rng: scaled_light(pixels, 0.2, 200.0),
    "blurred, 4 %": lambda pixels, rng: blurred(pixels, 0.04),
    "blurred, 8 %": lambda pixels, rng: blurred(pixels, 0.08),
    "blank": lambda pixels, rng: np.full_like(pixels, rng.integers(0, 256, 3)),
    "half missing": half_missing,
    "16 pixels": lambda pixels, rng: resized(pixels, 16 / min(pixels.shape[:2])),
    "screenshot": lambda pixels, rng: screenshot(rng),
    "screenshot, JPEG": lambda pixels, rng: compressed(screenshot(rng), 90),
}
"""What nobody can judge, by name."""

MILD: Mapping[str, Change] = {
    "JPEG 30": lambda pixels, rng: compressed(pixels, 30),
    "half the size": lambda pixels, rng: resized(pixels, 0.5),
    "twice the size": lambda pixels, rng: resized(pixels, 2.0),
    "light x 0.5": lambda pixels, rng: scaled_light(pixels, 0.5),
    "light x 0.8": lambda pixels, rng: scaled_light(pixels, 0.8),
    "light x 1.2": lambda pixels, rng: scaled_light(pixels, 1.2),
    "turned": lambda pixels, rng: np.ascontiguousarray(np.rot90(pixels)),
    "inner 80 %": lambda pixels, rng: pixels[
        len(pixels) // 10 : -len(pixels) // 10, pixels.shape[1] // 10 : -pixels.shape[1] // 10
    ],
}
"""What people still judge, by name; what a panel of very even images refuses of it, it has never seen."""


def refused(bounds: QualityBounds, images: Iterable[Pixels]) -> float:
    """Return the share of images that are refused."""
    return float(np.mean([bool(bounds.reason(measured(np.ascontiguousarray(pixels)))) for pixels in images]))


def figures_of(source: Path, seed: int) -> dict[str, dict[str, float]]:
    """Return the shares that are refused: "held out", and by name of the cases "made" and "mild".

    Raises:
        DatasetError: the folder cannot be used. ImageError: an image in it cannot be read.
    """
    known = [load_image(image.path).measures for image in read_labelled_folder(source / TRAIN).images]
    test = [load_image(image.path).pixels for image in read_labelled_folder(source / TEST).images]
    bounds = QualityBounds.of(np.array(known))
    if bounds is None:
        raise click.ClickException(f"'{source}' has fewer than two images to know what is usual")
    rng = np.random.default_rng(seed)
    some = [test[row] for row in rng.permutation(len(test))[:MADE_OF]]
    return {
        "held out": {f"{len(test)} images": refused(bounds, test)},
        "made": {name: refused(bounds, [change(pixels, rng) for pixels in some]) for name, change in MADE.items()},
        "mild": {name: refused(bounds, [change(pixels, rng) for pixels in some]) for name, change in MILD.items()},
    }


@click.command()
@click.argument(
    "sources", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DATA..."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
def main(sources: tuple[Path, ...], seed: int, file: Path | None) -> None:
    """Measure which images DATA's own bounds refuse."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for source in sources:
        try:
            results[source.name] = figures_of(source, seed)
        except ConsilienceError as error:
            raise click.ClickException(str(error)) from error
        for kind, shares in results[source.name].items():
            listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            click.echo(f"{source.name}, refused of the {kind}: {listed}")
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
