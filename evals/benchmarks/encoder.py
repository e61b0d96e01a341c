"""How much of ONNX Runtime's own rate the embedded encoder keeps, from JPEG files to vectors.

    python -m consilience.evals.benchmarks.encoder

All rates are taken in turns in one run, so that a busy machine slows them alike. 'raw' is ONNX Runtime on
tensors that lie ready in memory: with its default threads and batches of 32, and as Consilience drives it
(one call a core, small batches). Decoding and resizing take their share of the same cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from consilience.images import load_image
from consilience.retrieval.embedded import SIZE, EmbeddedEncoder
from consilience.retrieval.embedding import embed_many, usable_cores

TARGET = 0.85
END_TO_END = "end to end from JPEG files"


def write_jpegs(folder: Path, count: int, side: int = 256) -> list[Path]:
    """JPEG files of about the size and detail of photographs: gradients, blobs and grain, from a fixed seed."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        blobs = PIL.Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(blobs.resize((side, side), PIL.Image.Resampling.BICUBIC), dtype=np.float64)
        grain = rng.normal(0, 8, (side, side, 1))
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:05d}.jpg")
        PIL.Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def contestants(paths: list[Path], encoder: EmbeddedEncoder) -> dict[str, Callable[[], object]]:
    """What is timed; each encodes all of `paths` once."""
    import onnxruntime

    ready = np.stack([encoder.prepare(load_image(path)) for path in paths])
    session = onnxruntime.InferenceSession(str(encoder.onnx_path), providers=["CPUExecutionProvider"])

    def slices(size: int) -> list[NDArray[np.uint8]]:
        return [ready[start : start + size] for start in range(0, len(ready), size)]

    def raw_default() -> None:
        for batch in slices(32):
            session.run(None, {"input": batch})

    def raw_per_core() -> None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(encoder.encode_prepared, slices(encoder.chunk)))

    def end_to_end() -> None:
        for _ in embed_many(paths, encoder, load=load_image):
            pass

    timed: dict[str, Callable[[], object]] = {
        "raw, default threads, batch 32": raw_default,
        f"raw, one call a core, batch {encoder.chunk}": raw_per_core,
        END_TO_END: end_to_end,
    }
    if find_spec("torch") and find_spec("efficientnet_lite_pytorch"):
        timed["torch eager, ready tensors, batch 32"] = _torch_eager(slices(32))
    return timed


def _torch_eager(batches: list[NDArray[np.uint8]]) -> Callable[[], None]:
    import torch

    from consilience.retrieval.embedded import build_tower

    tower = build_tower()

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                tower(torch.from_numpy(batch))

    return run


def rates(timed: dict[str, Callable[[], object]], images: int, repeats: int) -> dict[str, list[float]]:
    """Images a second of each, `repeats` times, in turns; one unmeasured turn first."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(repeats + 1):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            if turn > 0:
                found[name].append(images / (time.perf_counter() - start))
    return found


@click.command()
@click.option("--images", default=400, show_default=True, help="JPEG files of 256 x 256 to make.")
@click.option("--repeats", default=5, show_default=True, help="Measurements of each.")
def main(images: int, repeats: int) -> None:
    """Measure the embedded encoder from JPEG files against raw ONNX Runtime."""
    encoder = EmbeddedEncoder()
    with tempfile.TemporaryDirectory() as folder:
        measured = rates(contestants(write_jpegs(Path(folder), images), encoder), images, repeats)
    medians = {name: float(np.median(values)) for name, values in measured.items()}
    print(f"{images} JPEG files of 256 x 256 to {SIZE} x {SIZE}, {usable_cores()} cores, {repeats} turns\n")
    print(f"{'images a second':38} {'median':>8} {'least':>8} {'most':>8}")
    for name, values in measured.items():
        print(f"{name:38} {medians[name]:8.1f} {min(values):8.1f} {max(values):8.1f}")
    print()
    end_to_end = medians[END_TO_END]
    for name, rate in medians.items():
        if name.startswith("raw"):
            print(f"{END_TO_END} / {name}: {end_to_end / rate:.2f} (at least {TARGET})")


if __name__ == "__main__":
    main()
