"""The record of the trust that an agent has earned on labelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from consilience.core.prediction import Stage


@dataclass(frozen=True, slots=True)
class Trust:
    """Figures of how well an agent did, at one look, on labelled images that it was not fitted on.

    Where nothing was labelled, n is 0, and the accuracy is an estimate from how far the agents agree.

    Attributes:
        agent, stage: whose trust, and for which look.
        n: number of labelled images behind the figures.
        ece: expected calibration error, [0, 1]; lower is better.
        ocr: overconfidence ratio, share of all predictions that are wrong with confidence >= 0.8,
            [0, 1]; lower is better.
        ccc: confidence-correctness correlation (Pearson), [-1, 1]; higher is better, 0 where undefined.
        accuracy: [0, 1]; None where only the three summary numbers above are known.
        brier: multiclass Brier score, [0, 2]; lower is better; None where unknown.
        confusion: by true label, how often each label was predicted; None where unknown.
        estimated_on: number of images without a label behind an accuracy that is estimated from agreement; 0: measured.
    """

    agent: str
    stage: Stage
    n: int
    ece: float
    ocr: float
    ccc: float
    accuracy: float | None = None
    brier: float | None = None
    confusion: Mapping[str, Mapping[str, int]] | None = None
    estimated_on: int = 0

    def __post_init__(self) -> None:
        bounds = {"ece": (0, 1), "ocr": (0, 1), "ccc": (-1, 1), "accuracy": (0, 1), "brier": (0, 2)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is None and name in ("accuracy", "brier"):
                continue
            if not (math.isfinite(value) and low - 1e-9 <= value <= high + 1e-9):
                raise ValueError(f"trust of '{self.agent}': {name} is {value}, not in [{low}, {high}]")
        if self.n < 0:
            raise ValueError(f"trust of '{self.agent}': n is {self.n}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
