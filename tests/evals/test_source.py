"""Labelled images from folders, manifests and vectors: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consilience import Task
from consilience.core.errors import DatasetError
from consilience.evals.source import Source, cases, chosen_rows, labels_of, open_source

TASK = Task.from_labels(["healthy", "scab", "rust"])


def folder(root: Path, **counts: int) -> Path:
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            (root / label / f"{number}.jpg").write_bytes(b"not opened here")
    return root


def names_of(source: Source) -> list[tuple[str, str]]:
    return [(Path(name).name, label) for name, label, _ in source.rows()]


def test_a_folder_has_a_subfolder_a_label(tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", scab=2, healthy=11)
    (root / "notes.txt").touch()
    (root / "empty").mkdir()
    source = open_source(root)
    assert (source.kind, len(source), source.counts) == ("folder", 13, {"healthy": 11, "scab": 2})
    assert names_of(source)[-4:] == [("9.jpg", "healthy"), ("10.jpg", "healthy"), ("0.jpg", "scab"), ("1.jpg", "scab")]
    assert all(Path(name).is_absolute() for name, *_ in source.rows())
    assert source.ignored == (root / "notes.txt",)


def test_the_fingerprint_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    root = folder(tmp_path, scab=2)
    before = open_source(root).fingerprint
    assert open_source(root).fingerprint == before
    (root / "scab" / "1.jpg").write_bytes(b"another picture")
    changed = open_source(root).fingerprint
    (root / "scab" / "1.jpg").rename(root / "scab" / "2.jpg")
    assert len({before, changed, open_source(root).fingerprint}) == 3


CSV = 'id,label,path\n1,scab,a/1.jpg\n2,"rust","b, c.jpg"\n\n3, healthy ,http://host/x.jpg\n'


def test_a_csv_names_paths_beside_itself_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text("\ufeff" + CSV, encoding="utf-8")
    source = open_source(path)
    rows = [(name, label) for name, label, _ in source.rows()]
    assert rows == [
        (str(tmp_path / "a/1.jpg"), "scab"),
        (str(tmp_path / "b, c.jpg"), "rust"),
        ("http://host/x.jpg", "healthy"),
    ]
    assert source.counts == {"scab": 1, "rust": 1, "healthy": 1}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_parquet_manifest_says_the_same(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"path": ["a.jpg", "b.jpg"], "label": pa.array(["scab", "rust"]).cast(kind)})
    pq.write_table(table, tmp_path / "images.parquet")
    assert names_of(open_source(tmp_path / "images.parquet")) == [("a.jpg", "scab"), ("b.jpg", "rust")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no column 'path' \\(its columns: none\\)"),
        ("path,label\n", "is empty"),
        ("file,label\na,b\n", "has no column 'path' \\(its columns: file, label\\)"),
        ("path,label,label\na,b,c\n", "more than one column 'label'"),
        ("path,label\na.jpg\n", "line 2: 1 cells for 2 columns"),
        ("path,label\na.jpg,scab\n,scab\n", "row 2: 'path' is empty"),
        ("path,label\na.jpg, \n", "row 1: 'label' is empty"),
        ('path,label\n"a.jpg,scab\n', "line 2, is not CSV"),
        (b"path,label\n\xff,scab\n", "is not in UTF-8 .line 2: byte 0xff, perhaps Latin-1."),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_row(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    path = tmp_path / "images.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=problem):
        open_source(path)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"path": ["a"], "label": [3]}, "row 1: 'label' is 3, not text"),
        ({"path": ["a"], "label": [None]}, "row 1: 'label' is empty"),
        ({"path": ["a", "b"], "label": ["scab", None]}, "row 2: 'label' is empty"),
        ({"path": ["a"]}, "no column 'label'"),
    ],
)
def test_a_table_with_labels_of_another_type_is_refused(tmp_path: Path, columns: dict[str, Any], problem: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "images.parquet")
    with pytest.raises(DatasetError, match=problem):
        open_source(tmp_path / "images.parquet")


def test_what_is_not_there_or_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "photos").mkdir()
    for name, problem in {
        "gone.csv": "cannot be read: No such file",
        "gone": "does not exist",
        "fake.parquet": "is not a Parquet file",
        "photos": "is empty",
    }.items():
        with pytest.raises(DatasetError, match=problem):
            open_source(tmp_path / name)


def test_labels_are_those_of_the_task_by_any_spelling_or_by_a_map(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path, Healthy=1, SCAB=1, orange_spots=1))
    assert labels_of(source, TASK, {"Orange-Spots": "rust"}) == {
        "Healthy": "healthy",
        "SCAB": "scab",
        "orange_spots": "rust",
    }


def test_all_labels_that_the_task_does_not_know_are_named(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path, scab=1, mildew=1, canker=1))
    with pytest.raises(DatasetError, match=r"'canker', 'mildew'; it knows healthy, scab, rust.*--map 'canker=...'"):
        labels_of(source, TASK, {})
    with pytest.raises(DatasetError, match="does not know: 'canker'"):
        labels_of(source, TASK, {"mildew": "rust"})
    with pytest.raises(DatasetError, match="no label 'blight' to map to; it has healthy, scab, rust"):
        labels_of(source, TASK, {"mildew": "rust", "canker": "blight"})


def test_a_map_of_what_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is labelled 'sacb'; its labels: 'scab'"):
        labels_of(open_source(folder(tmp_path, scab=1)), TASK, {"sacb": "rust"})


def test_a_sample_is_drawn_from_everywhere_and_follows_from_its_seed() -> None:
    rows = chosen_rows(1000, 50, None, seed=3)
    assert len(set(rows.tolist())) == 50
    assert (np.diff(rows) > 0).all()
    assert rows.max() > 800
    np.testing.assert_array_equal(rows, chosen_rows(1000, 50, None, seed=3))
    assert rows.tolist() != chosen_rows(1000, 50, None, seed=4).tolist()
    np.testing.assert_array_equal(chosen_rows(1000, 50, 10, seed=3), rows[:10])
    assert chosen_rows(5, 50, 3, seed=0).tolist() == [0, 1, 2]


def test_cases_are_the_wanted_rows(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path, healthy=2, scab=2))
    chosen = list(cases(source, labels_of(source, TASK, {}), np.array([False, True, True, False])))
    seen = [(case.row, Path(case.name).name, case.truth) for case in chosen]
    assert seen == [(1, "1.jpg", "healthy"), (2, "0.jpg", "scab")]
