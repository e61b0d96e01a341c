"""What a command takes from its start to its end, with warm caches, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from consilience.evals.benchmarks.speed.encoder_rate import write_jpegs
from consilience.evals.benchmarks.speed.measure import Figure, ratios, seconds
from consilience.orchestrator.fitting.fit import fit


def labelled_folder(folder: Path, images: int) -> Path:
    """Write a folder of JPEG files under two labels, so many each. Return it."""
    for number, label in enumerate(("one", "other")):
        (folder / label).mkdir(parents=True)
        write_jpegs(folder / label, images, seed=number)
    return folder


def figures(quick: bool) -> list[Figure]:
    """Return the time of `consilience diagnose` beside that of a Python process that only imports its libraries."""
    consilience = str(Path(sysconfig.get_path("scripts"), "consilience"))
    with TemporaryDirectory() as work:
        folder, panel = labelled_folder(Path(work, "images"), 20), Path(work, "panel")
        fit(folder, panel)
        image = folder / "one" / "00000.jpg"
        commands = {
            "diagnose": [consilience, "diagnose", str(image), "--panel", str(panel), "--json"],
            "imports": [sys.executable, "-c", "import onnxruntime, chromadb"],
            "help": [consilience, "--help"],
        }
        took = seconds({name: partial(_run, command) for name, command in commands.items()}, 3 if quick else 9)
    return [
        Figure("s, consilience diagnose of one image", tuple(took["diagnose"])),
        Figure("s, python -c 'import onnxruntime, chromadb'", tuple(took["imports"])),
        Figure("diagnose / imports (ratio)", ratios(took["diagnose"], took["imports"]), most=2.5),
        Figure("s, consilience --help", tuple(took["help"]), most=1),
    ]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
