"""Labelled images in a table: CSV, Parquet, JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consilience import Task
from consilience.core.dataset import LabelledImage
from consilience.core.errors import DatasetError
from consilience.core.sources.labelled_source import read_labelled_source
from consilience.core.sources.manifest import Manifest, ManifestRow

Row = tuple[str, str, str | None]


def as_csv(path: Path, rows: Sequence[Row]) -> Path:
    path = path.with_suffix(".csv")
    lines = ["group,path,label", *(f'{group or ""},"{name}",{label}' for name, label, group in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_parquet(path: Path, rows: Sequence[Row]) -> Path:
    path = path.with_suffix(".parquet")
    names, labels, groups = zip(*rows, strict=True)
    groups_column = pa.array(groups, pa.string())
    pq.write_table(pa.table({"path": [*names], "label": [*labels], "group": groups_column}), path)
    return path


def as_json_lines(path: Path, rows: Sequence[Row]) -> Path:
    path = path.with_suffix(".JSONL")
    lines = [json.dumps({"path": name, "label": label, "group": group, "by": 3}) for name, label, group in rows]
    path.write_text("\ufeff" + "\n\n".join(lines), encoding="utf-8")
    return path


ROWS: list[Row] = [
    ("a/1.jpg", "scab", "tree 1"),
    ("b, c.jpg", " rust ", None),
    ("http://host/x.jpg", "scab", " tree 2 "),
]


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_json_lines])
def test_a_row_names_path_label_and_group(tmp_path: Path, write: Callable[[Path, Sequence[Row]], Path]) -> None:
    manifest = Manifest(write(tmp_path / "images", ROWS))
    rows = [*manifest.rows()]
    assert rows == [
        ManifestRow("a/1.jpg", "scab", "tree 1"),
        ManifestRow("b, c.jpg", "rust"),
        ManifestRow("http://host/x.jpg", "scab", "tree 2"),
    ]
    assert manifest.full_path(rows[0]) == str(tmp_path / "a/1.jpg")
    assert manifest.full_path(rows[2]) == "http://host/x.jpg"


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_json_lines])
def test_a_manifest_is_read_as_a_labelled_folder_is(
    tmp_path: Path, write: Callable[[Path, Sequence[Row]], Path]
) -> None:
    source = read_labelled_source(write(tmp_path / "images", ROWS))
    assert source.labels == ("rust", "scab")
    assert source.images == (
        LabelledImage(tmp_path / "b, c.jpg", "rust"),
        LabelledImage(tmp_path / "a/1.jpg", "scab", "tree 1"),
        LabelledImage("http://host/x.jpg", "scab", "tree 2"),
    )


def test_groups_may_be_whole_numbers(tmp_path: Path) -> None:
    table = pa.table({"path": ["a", "b"], "label": ["x", "y"], "group": pa.array([7, None], pa.int64())})
    pq.write_table(table, tmp_path / "m.parquet")
    (tmp_path / "m.jsonl").write_text('{"path": "a", "label": "x", "group": 7}\n')
    assert [row.group for row in Manifest(tmp_path / "m.parquet").rows()] == ["7", None]
    assert [row.group for row in Manifest(tmp_path / "m.jsonl").rows()] == ["7"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"path": "a.jpg", "label": "x"}\n{"path": "a.jpg"}\n', "row 2: 'label' is empty"),
        ('\n["a.jpg", "x"]\n', "line 2 is no JSON object"),
        ('{"path": "a.jpg", "label": "x"', "line 1 is no JSON object"),
        ('{"path": "a.jpg", "label": 3}\n', "row 1: 'label' is 3, not text"),
        ('{"path": "a.jpg", "label": "x", "group": ["g"]}\n', r"row 1: 'group' is \['g'\], neither text nor a whole"),
        ('{"path": "a.jpg", "label": "x", "group": true}\n', "row 1: 'group' is True, neither"),
        ('{"path": "ftp://host/a.jpg", "label": "x"}\n', "row 1: no image is read from ftp://"),
        ("[" * 100_000, "line 1 is no JSON object"),
        (b'{"path": "\xff", "label": "x"}\n', "is not in UTF-8"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, text: str | bytes, problem: str) -> None:
    path = tmp_path / "images.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=problem):
        list(Manifest(path).rows())


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "is empty; give it a row"),
        ([("a", "scab", None)], "has the label 'scab' only"),
        ([("a", "scab", None), ("b", "Scab", None)], "row 2: the labels 'scab' and 'Scab' are spelled alike"),
    ],
)
def test_a_manifest_without_two_labels_is_refused(tmp_path: Path, rows: list[Row], problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        read_labelled_source(as_csv(tmp_path / "m", rows))


def test_a_task_maps_labels_and_names_the_row_that_it_does_not_know(tmp_path: Path) -> None:
    task = Task(labels=(Task.label("scab", synonyms=["apple scab"]), Task.label("rust")))
    rows: list[Row] = [("a", "Apple Scab", None), ("b", "rust", None)]
    source = read_labelled_source(as_csv(tmp_path / "m", rows), task)
    assert [(image.label, source.labels) for image in source.images] == [
        ("scab", ("scab", "rust")),
        ("rust", ("scab", "rust")),
    ]
    with pytest.raises(DatasetError, match="row 3: 'canker' is no label of the task, which knows scab, rust"):
        read_labelled_source(as_csv(tmp_path / "m", [*rows, ("c", "canker", None)]), task)


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        read_labelled_source(tmp_path / "gone.csv")


def test_more_than_one_column_of_groups_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label,group,group\na,b,c,d\n")
    with pytest.raises(DatasetError, match="has more than one column 'group'"):
        list(Manifest(tmp_path / "m.csv").rows())
