"""`report.html`: one page, for people who must decide whether to trust a panel. It opens without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consilience.errors import DatasetError
from consilience.evals.report.galleries import Chosen, Row
from consilience.evals.report.page import render
from consilience.evals.report.pictures import Pictures
from consilience.evals.report.table import Table
from consilience.orchestrator.panel import Panel

REPORT = "report.html"


def write_report(out: Path, panel: Panel | None = None) -> Path:
    """Write OUT/report.html from OUT/predictions.jsonl, metrics.json and run.json; it replaces an earlier one whole.

    Pictures are loaded again from where the images came from, as long as they are local and unchanged; what is gone is
    shown without one. Memory does not grow with the number of rows, beyond what the page holds.

    Args:
        panel: where the pictures of similar cases are; None: without them.

    Raises:
        DatasetError: a file of OUT is missing or damaged, or the page cannot be written.
    """
    metrics, run = _read(out / "metrics.json"), _read(out / "run.json")
    labels = list(metrics["labels"])
    table, chosen = Table(labels), Chosen(len(labels))
    for row in _rows(out / "predictions.jsonl"):
        table.add(row)
        if row["label"] is not None:
            chosen.offer(row)
    page = render(metrics, run, table, chosen, Pictures(panel))
    path, new = out / REPORT, out / f"{REPORT}.new"
    try:
        new.write_text(page, encoding="utf-8")
        new.replace(path)
    except OSError as cause:
        raise DatasetError(f"'{path}' cannot be written: {cause.strerror}") from cause
    return path


def _rows(path: Path) -> Iterator[Row]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as cause:
                    raise DatasetError(f"'{path}', line {number} is damaged: {cause}") from cause
    except OSError as cause:
        raise DatasetError(f"'{path}' cannot be read: {cause.strerror}") from cause


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as cause:
        raise DatasetError(f"'{path}' cannot be read: {cause.strerror}; evaluate again") from cause
    except ValueError as cause:
        raise DatasetError(f"'{path}' is damaged: {cause}; evaluate again") from cause
    if not isinstance(data, dict):
        raise DatasetError(f"'{path}' is damaged: it must hold a mapping; evaluate again")
    return data
