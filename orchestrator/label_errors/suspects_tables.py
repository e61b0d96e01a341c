"""Suspects as tables: a list of moves to look through, and a manifest with the labels that the panel proposes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from consilience.core.relabelling.moves import NEW_LABEL
from consilience.core.sources.manifest import GROUP, LABEL, PATH
from consilience.core.storage.atomic_write import replacing
from consilience.orchestrator.label_errors.suspects import Suspects

MOVES_COLUMNS = (PATH, LABEL, NEW_LABEL, "probability", "panel_probability", "why")
"""Of the list of moves; `relabel` reads the first and the third."""


def write_moves(suspects: Suspects, path: Path) -> None:
    """Write the shown suspects as a CSV of moves; `new_label` is empty where a person must say what the image shows.

    Raises:
        OSError: it cannot be written.
    """
    _write(
        path,
        MOVES_COLUMNS,
        (
            (
                suspect.source,
                suspect.given,
                suspect.proposed or "",
                _rounded(suspect.given_probability),
                _rounded(suspect.named_probability),
                " ".join(suspect.why),
            )
            for suspect in suspects.shown
        ),
    )


def write_manifest(suspects: Suspects, path: Path) -> None:
    """Write all images of the panel as a CSV manifest, with the proposed labels; `was` holds a label that was changed.

    Raises:
        OSError: it cannot be written.
    """
    images = suspects.panel.labelled_images
    proposed = {suspect.id: suspect.proposed for suspect in suspects.shown if suspect.proposed is not None}
    groups = images.groups if suspects.panel.grouping.how == "given" else ("",) * len(images)
    rows = zip(images.ids, images.sources, images.labels, groups, strict=True)
    _write(
        path,
        (PATH, LABEL, GROUP, "was"),
        (
            (source, proposed.get(identity, label), group, label if identity in proposed else "")
            for identity, source, label, group in rows
        ),
    )


def _rounded(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.4f}"


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # A file name that is no text cannot stand in a table of text: what stands there names no file, and is refused.
    with (
        replacing(path, shared=True) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)
