"""The demo's data: the ELPV set, 2,624 electroluminescence images of solar cells from 44 modules.

Deitsch et al., 'Segmentation of photovoltaic module cells in uncalibrated electroluminescence images', Machine Vision
and Applications 32, 2021. The images are CC BY-NC-SA 4.0; the package elpv-dataset holds them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from consilience.core.errors import import_extra

LABELS = {0.0: "functional", 1.0: "defective"}
"""Defect probabilities on which the people who labelled the cells were sure; 1/3 and 2/3 lie between."""


@dataclass(frozen=True)
class SolarCell:
    """One solar cell: its image, and how probable a defect is to those who labelled it."""

    path: Path
    defect_probability: float

    @property
    def label(self) -> str | None:
        """The label; None for the cells in between."""
        return LABELS.get(self.defect_probability)


@dataclass(frozen=True)
class SolarCellSplit:
    """Cells to fit on, others to diagnose whose label is known, and those in between."""

    fit: list[SolarCell]
    held_out: list[SolarCell]
    between: list[SolarCell]


def read_cells() -> list[SolarCell]:
    """Return all cells in the set's order. Raises MissingExtraError: the package is not installed."""
    package = import_extra("elpv_dataset", "demo")
    data = Path(str(package.__file__)).parent / "data"
    rows = (line.split() for line in (data / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip())
    return [SolarCell(data / name, float(probability)) for name, probability, _ in rows]


def split(cells: Sequence[SolarCell], to_fit: int, seed: int) -> SolarCellSplit:
    """Split the cells into `to_fit` labelled ones, drawn at random, the other labelled ones, and those in between."""
    import numpy as np

    labelled = [cell for cell in cells if cell.label is not None]
    drawn = [labelled[place] for place in np.random.default_rng(seed).permutation(len(labelled))]
    return SolarCellSplit(drawn[:to_fit], drawn[to_fit:], [cell for cell in cells if cell.label is None])


def lay_out(cells: Iterable[SolarCell], folder: Path) -> None:
    """Make a labelled folder of links to the images, of copies where the system refuses links."""
    for cell in cells:
        target = folder / str(cell.label) / cell.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.symlink(cell.path, target)
        except OSError:
            shutil.copyfile(cell.path, target)
