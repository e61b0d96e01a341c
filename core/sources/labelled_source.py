"""Labelled images from a folder or from a manifest, whichever is given."""

from __future__ import annotations

from pathlib import Path

from consilience.core.dataset import LabelledFolder, LabelledImage, check_labels, natural_order, read_labelled_folder
from consilience.core.errors import DatasetError
from consilience.core.sources.manifest import LABEL, PATH, Manifest
from consilience.core.sources.table_file import is_table
from consilience.core.task import Task, plain


def read_labelled_source(
    source: Path, task: Task | None = None, least: int = 1, follow_links: bool = False
) -> LabelledFolder:
    """Return the labelled images of a folder or a manifest, without opening them.

    Args:
        source: a folder with a subfolder for each label, see `read_labelled_folder`; or a .csv, .parquet or .jsonl
            file, see `Manifest`.
        task: maps what is written to its labels, synonyms included; None: the labels are what is written.
        least: how many images each label must have.
        follow_links: whether links that lead out of a folder are followed.

    Raises:
        DatasetError: the images cannot be used; says what to change.
        MissingExtraError: the package for a store that a manifest names is not installed.
    """
    if not is_table(source):
        return read_labelled_folder(source, task, least, follow_links=follow_links)
    manifest = Manifest(source)
    by_label: dict[str, list[LabelledImage]] = {label: [] for label in (task.names if task else ())}
    spelled: dict[str, str] = {}
    for number, row in enumerate(manifest.rows(), 1):
        label = row.label if task is None else task.find(row.label)
        if label is None:
            raise DatasetError(
                f"the manifest '{source}', row {number}: '{row.label}' is no label of the task, which knows "
                f"{', '.join(task.names if task else ())}; correct the row, or add the name to the task"
            )
        if (other := spelled.setdefault(plain(label), label)) != label:
            raise DatasetError(
                f"the manifest '{source}', row {number}: the labels '{other}' and '{label}' are spelled alike; spell "
                "them one way, or give a task in which they are labels"
            )
        full_path = manifest.full_path(row)
        path = full_path if "://" in full_path else Path(full_path)
        by_label.setdefault(label, []).append(LabelledImage(path, label, row.group))
    if not any(by_label.values()):
        raise DatasetError(f"the manifest '{source}' is empty; give it a row with {PATH} and {LABEL} for each image")
    check_labels(source, by_label, least)
    labels = task.names if task else tuple(sorted(by_label, key=natural_order))
    return LabelledFolder(tuple(image for label in labels for image in by_label[label]), labels, ())
