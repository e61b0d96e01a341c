"""How much of ONNX Runtime's own rate EfficientNet-Lite0 keeps, from JPEG files to vectors, and CLIP of open_clip's.

'raw' is ONNX Runtime on tensors that lie ready in memory: with its default threads and batches of 32, and as
Consilience drives it (one call a core, small batches). Decoding and resizing take their share of the same cores.
open_clip is asked as its own examples do (eager, batches of 32) on tensors that lie ready; its weights are drawn at
random, and cost as much as trained ones.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from consilience.core.images import load_image
from consilience.evals.benchmarks.speed.measure import Figure, ratios, seconds
from consilience.retrieval.encoders.batch_embedding import embed_many, usable_cores
from consilience.retrieval.encoders.efficientnet_lite import EfficientNetLite
from consilience.retrieval.encoders.open_encoder import open_encoder

CLIP_MODEL = "ViT-B-32"

END_TO_END = "end to end from JPEG files"
RAW_DEFAULT = "raw, default threads, batch 32"
RAW_PER_CORE = "raw, one call a core"
CLIP_EAGER = f"open_clip {CLIP_MODEL} eager, batch 32"
CLIP_END_TO_END = f"{CLIP_MODEL} end to end from JPEG files"


def write_jpegs(folder: Path, count: int, side: int = 256, seed: int = 0) -> list[Path]:
    """Write JPEG files of about the size and detail of photographs: gradients, blobs and grain. Return their paths."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        blobs = PIL.Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(blobs.resize((side, side), PIL.Image.Resampling.BICUBIC), dtype=np.float64)
        grain = rng.normal(0, 8, (side, side, 1))
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:05d}.jpg")
        PIL.Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def contestants(paths: list[Path], encoder: EfficientNetLite) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; each encodes all of `paths` once."""
    import onnxruntime

    ready = np.stack([encoder.prepare(load_image(path)) for path in paths])
    session = onnxruntime.InferenceSession(str(encoder.onnx_path), providers=["CPUExecutionProvider"])

    def slices(size: int) -> list[NDArray[np.uint8]]:
        return [ready[start : start + size] for start in range(0, len(ready), size)]

    def raw_default() -> None:
        for batch in slices(32):
            session.run(["vectors"], {"input": batch})

    def raw_per_core() -> None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(encoder.encode_prepared, slices(encoder.chunk)))

    def end_to_end() -> None:
        for _ in embed_many(paths, encoder, load=load_image):
            pass

    timed: dict[str, Callable[[], object]] = {
        RAW_DEFAULT: raw_default,
        RAW_PER_CORE: raw_per_core,
        END_TO_END: end_to_end,
    }
    if find_spec("torch") and find_spec("efficientnet_lite_pytorch"):
        timed["torch eager, ready tensors, batch 32"] = _torch_eager(slices(32))
    return timed


def _torch_eager(batches: list[NDArray[np.uint8]]) -> Callable[[], None]:
    import torch

    from consilience.retrieval.encoders.efficientnet_lite import build_tower

    tower = build_tower()

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                tower(torch.from_numpy(batch))

    return run


def clip_contestants(paths: list[Path], checkpoint: Path) -> dict[str, Callable[[], object]]:
    """Return the same for CLIP_MODEL in open_clip, on the CPU, with random weights, written to `checkpoint`."""
    import open_clip
    import torch

    torch.manual_seed(0)
    model = open_clip.create_model(CLIP_MODEL)
    torch.save(model.state_dict(), checkpoint)
    encoder = open_encoder(f"open_clip:{CLIP_MODEL}:{checkpoint}", device="cpu")
    ready = [
        torch.from_numpy(np.stack([encoder.prepare(load_image(path)) for path in paths[start : start + 32]]))
        for start in range(0, len(paths), 32)
    ]
    model.eval()

    def eager() -> None:
        with torch.inference_mode():
            for batch in ready:
                model.encode_image(batch, normalize=True)

    def end_to_end() -> None:
        for _ in embed_many(paths, encoder, load=load_image):
            pass

    return {CLIP_EAGER: eager, CLIP_END_TO_END: end_to_end}


def figures(quick: bool) -> list[Figure]:
    """Return the images a second of each contestant, and how they compare."""
    embedded = _embedded(100 if quick else 400, 3 if quick else 5)
    return [*embedded, *(_clip(64 if quick else 192, 2 if quick else 3) if find_spec("open_clip") else ())]


def _clip(images: int, turns: int) -> list[Figure]:
    with TemporaryDirectory() as folder:
        timed = clip_contestants(write_jpegs(Path(folder), images), Path(folder, "weights.pt"))
        rates = {
            name: tuple(images / duration for duration in values) for name, values in seconds(timed, turns).items()
        }
    compared = Figure(f"{CLIP_END_TO_END} / {CLIP_EAGER}", ratios(rates[CLIP_END_TO_END], rates[CLIP_EAGER]))
    return [*(Figure(f"images a second, {name}", values) for name, values in rates.items()), compared]


def _embedded(images: int, turns: int) -> list[Figure]:
    encoder = EfficientNetLite()
    with TemporaryDirectory() as folder:
        measured = seconds(contestants(write_jpegs(Path(folder), images), encoder), turns)
    rates = {name: tuple(images / value for value in values) for name, values in measured.items()}
    compared = [
        Figure(f"{END_TO_END} / {RAW_DEFAULT}", ratios(rates[END_TO_END], rates[RAW_DEFAULT]), least=0.85),
        Figure(f"{END_TO_END} / {RAW_PER_CORE}", ratios(rates[END_TO_END], rates[RAW_PER_CORE])),
    ]
    return [Figure(f"images a second, {name}", values) for name, values in rates.items()] + compared
