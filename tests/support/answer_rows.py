"""Rows of a table of answers by three agents of unequal skill, drawn from a seed, and a panel that they teach."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, fit_answers
from tests.support.made_once import made_once

LABELS = ("canker", "rust", "scab")


def answer_rows(images: int, seed: int = 0, **fixed: Any) -> list[dict[str, Any]]:
    """Return a row an image and agent: 'net' gives probabilities, 'Ann' and 'vlm' a label, 'vlm' with a confidence.

    They err independently of each other: 'Ann' is right on 80 %, 'net' and 'vlm' on about 70 %.
    """
    random, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    for number in range(images):
        truth = number % 3
        row = {"image": f"{seed}-{number}.jpg", "truth": LABELS[truth], **fixed}
        evidence = random.normal(size=3) + 1.6 * np.eye(3)[truth]
        shares = np.exp(evidence) / np.exp(evidence).sum()
        rows.append({**row, "agent": "net", **{f"p_{name}": share for name, share in zip(LABELS, shares, strict=True)}})
        for agent, skill in (("Ann", 0.8), ("vlm", 0.7)):
            named = truth if random.random() < skill else int(random.integers(3))
            confidence = 0.9 if agent == "vlm" else None
            rows.append({**row, "agent": agent, "label": LABELS[named], "confidence": confidence})
    return rows


def as_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as a CSV file; a cell that a row lacks is empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    return path


def answers_panel(factory: pytest.TempPathFactory) -> Path:
    """Return a panel that was fitted on the answers to 240 images. Not to be changed."""
    return made_once(factory, "answers-panel", lambda folder: fit_answers(answer_rows(240), folder))


def diagnoses(panel: Path, rows: Sequence[Mapping[str, Any]], **settings: Any) -> list[Diagnosis]:
    """Return what a panel makes of rows, without the images that fail."""
    with Diagnoser.open(panel, **settings) as diagnoser:
        return [result for result in diagnoser.diagnose_answers(rows) if isinstance(result, Diagnosis)]
