"""Which image of a table of answers a path means."""

from __future__ import annotations

from pathlib import Path

import pytest

from consilience.core.errors import DatasetError
from consilience.core.sources.answers_by_path import AnswersByPath


def table(folder: Path, *names: str) -> AnswersByPath:
    path = folder / "theirs.csv"
    rows = "".join(f"{name},resnet,{number}\n" for number, name in enumerate(names))
    path.write_text(f"image,agent,label\n{rows}", encoding="utf-8")
    return AnswersByPath(path)


def found(answers: AnswersByPath, source: object, images: Path | None = None) -> str | None:
    image = answers.find(str(source), images)
    return None if image is None else image.name


def test_an_image_is_found_by_its_path_by_the_end_of_it_or_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "photos" / "rust" / "1.jpg")
    names = whole, "rust/2.jpg", "3.jpg", "scab/3.jpg", "./rust/4.jpg", r"rust\5.jpg", "../up.jpg", "s3://bucket/6.jpg"
    answers = table(tmp_path, *names)
    for source, name in (
        (whole, whole),
        ("photos/rust/1.jpg", whole),  # as it was typed
        (tmp_path / "photos" / "rust" / "2.jpg", "rust/2.jpg"),
        ("/elsewhere/3.jpg", "3.jpg"),
        ("/elsewhere/scab/3.jpg", "scab/3.jpg"),  # the longest name that fits
        ("/elsewhere/rust/4.jpg", "./rust/4.jpg"),
        ("/elsewhere/rust/5.jpg", r"rust\5.jpg"),
        (tmp_path.parent / "up.jpg", "../up.jpg"),
        ("s3://bucket/6.jpg", "s3://bucket/6.jpg"),
        ("/other/photos/rust/1.jpg", None),  # another machine's
        ("/elsewhere/crust/2.jpg", None),  # parts of paths, not of texts
        ("/elsewhere/2.jpg", None),
        ("array", None),
    ):
        assert found(answers, source) == name, source
    image = answers.find("/elsewhere/3.jpg")
    assert image is not None
    assert [(answer.agent, answer.label) for answer in image.answers] == [("resnet", "2")]
    assert image.row == 3


def test_elsewhere_than_in_a_given_folder_only_the_whole_path_counts(tmp_path: Path) -> None:
    answers = table(tmp_path, "1.jpg", "/test/2.jpg")
    assert found(answers, "/train/rust/1.jpg", Path("/train/")) == "1.jpg"
    assert found(answers, "/test/rust/1.jpg", Path("/train")) is None  # a new image that is called like a known one
    assert found(answers, "/trainer/1.jpg", Path("/train")) is None
    assert found(answers, "/test/2.jpg", Path("/train")) == "/test/2.jpg"


def test_an_image_of_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"call one image 'a\.jpg' and '\./a\.jpg'; give it one name"):
        table(tmp_path, "a.jpg", "./a.jpg")
    with pytest.raises(DatasetError, match=r"call one image '\./a\.jpg' and 'b/\.\./a\.jpg'"):
        table(tmp_path, "./a.jpg", "b/../a.jpg")


def test_what_is_found_is_what_the_table_yields(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "image,agent,truth,group,p_rust,p_scab,stage\n"
        "a,net,,,0.75,0.25,\nb,net,Rust,leaf,0.5,0.5,\na,Ann,scab,tree,,,\na,net,,,0.25,0.75,revised\n"
    )
    answers = AnswersByPath(path)
    assert [answers.table.find(name) for name in answers.table.names()] == [*answers.table.images()]
