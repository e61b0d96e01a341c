"""`report.html`: one page, for people who must decide whether to trust a panel. It opens without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consilience.core.errors import EvaluationError
from consilience.core.storage.atomic_write import write_atomically
from consilience.evals.report import words
from consilience.evals.report.galleries import Chosen, Row
from consilience.evals.report.pictures import Pictures
from consilience.evals.report.report_page import render
from consilience.evals.report.table import RowTable
from consilience.evals.report.where_looked import WhereLooked
from consilience.evals.rows import ROWS_FILE
from consilience.evals.run_log import RUN, written_to
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.encoder import Encoder

METRICS, REPORT = "metrics.json", "report.html"


def write_report(out: Path, panel: Panel | None = None, encoder: Encoder | None = None) -> Path:
    """Write OUT/report.html from the evaluation in OUT; it replaces an earlier one whole.

    Pictures are loaded again from where the images came from, as long as they are local and unchanged; what is gone is
    shown without one. Memory does not grow with the number of rows beyond what the page holds.

    Args:
        panel: where the pictures of similar cases are; None: without them.
        encoder: the panel's, to find out where in the images of the galleries it looked; None: that is not shown.

    Raises:
        EvaluationError: a file of OUT is missing or damaged, or the page cannot be written.
        PanelDamagedError: the pictures of similar cases cannot be read.
    """
    metrics, run = _read(out / METRICS), _read(out / RUN)
    labels = list(metrics["labels"])
    table, chosen = RowTable(labels), Chosen(len(labels))
    for row in _rows(out / ROWS_FILE):
        table.add(row)
        if row["label"] is not None and metrics["fusion"] is not None:
            chosen.offer(row)
    name = f"panel {run['panel']['id']}" if panel is None else panel.path.name
    looked = None if panel is None or encoder is None else WhereLooked(panel, encoder)
    pictures = Pictures(None if panel is None else panel.labelled_images, looked)
    page = render(words.title(run, name), metrics, run, table, chosen, pictures)
    path = out / REPORT
    with written_to(out):
        write_atomically(path, page)
    return path


def _rows(path: Path) -> Iterator[Row]:
    with _readable(path), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            yield _mapping(line, f"'{path}', line {number}")


def _read(path: Path) -> Row:
    with _readable(path):
        return _mapping(path.read_bytes(), f"'{path}'")


def _mapping(data: bytes, name: str) -> Row:
    import orjson

    try:
        mapping: Row = orjson.loads(data)
    except ValueError as cause:
        raise EvaluationError(f"{name} was damaged ({cause}): evaluate again into another folder") from cause
    return mapping


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise EvaluationError(
            f"'{path}' cannot be read ({cause.strerror}): run `consilience evaluate` first"
        ) from cause
