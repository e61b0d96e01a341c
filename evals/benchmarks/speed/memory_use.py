"""How much memory `diagnose_many` takes at its peak, for few images and for ten times as many.

Each count runs in a process of its own, which asks the system for the peak of its resident memory.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from consilience.evals.benchmarks.speed.encoder_rate import write_jpegs
from consilience.evals.benchmarks.speed.measure import Figure
from consilience.evals.benchmarks.speed.startup import labelled_folder
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.fitting.fit import fit

SIDES = range(96, 352, 4)
"""Sides in pixels of the 64 images that are diagnosed over and over."""


def figures(quick: bool) -> list[Figure]:
    """Return the peaks in MB, and by how much they differ."""
    few, many = (300, 1_500) if quick else (1_000, 10_000)
    with TemporaryDirectory() as work:
        panel, images = Path(work, "panel"), Path(work, "many")
        fit(labelled_folder(Path(work, "labelled"), 64), panel)
        images.mkdir()
        for side in SIDES:
            (image,) = write_jpegs(images, 1, side)
            image.rename(images / f"{side}.jpg")
        low, high = (_peak_in_a_process(panel, images, count) for count in (few, many))
    return [
        Figure(f"MB, peak of diagnose_many, {few:,} images", (low,)),
        Figure(f"MB, peak of diagnose_many, {many:,} images", (high,)),
        Figure("MB between the two", (high - low,), most=100),
        Figure("the one / the other (ratio)", (high / low,)),
    ]


def _peak_in_a_process(panel: Path, images: Path, count: int) -> float:
    command = [sys.executable, "-m", __name__, str(panel), str(images), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own command
    return float(done.stdout)


def peak(panel: Path, images: Path, count: int) -> float:
    """Return the peak of this process in MB, after `count` diagnoses of the images in a folder, over and over."""
    sources = islice(cycle(sorted(images.iterdir())), count)
    with Diagnoser.open(panel) as diagnoser:
        answered = sum(1 for _ in diagnoser.diagnose_many(sources))
    if answered != count:
        raise RuntimeError(f"{answered} answers for {count} images")
    return peak_of_this_process()


def peak_of_this_process() -> float:
    """Return the peak of this process's resident memory in MB."""
    if Path("/proc/self/status").exists():  # Linux lets a child's ru_maxrss begin at its parent's size
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    print(peak(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
