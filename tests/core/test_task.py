"""A task: the domain and the labels."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consilience.core.errors import TaskError
from consilience.core.task import Label, Task, plain

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: plain(text) != ""
)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("Apple_Scab", " apple  scab"),
        ("apple-scab", "APPLE\tSCAB"),
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301"),
        ("ﬁre", "fire"),
        ("ＡＢＣ１", "abc1"),
        ("Ωmega", "ωMEGA"),
    ],
)
def test_spellings_that_count_as_equal(first: str, other: str) -> None:
    assert plain(first) == plain(other)


def test_signs_alone_keep_their_meaning() -> None:
    task = Task.from_labels(["+", "-"])
    assert (task.find("-"), task.find(" + "), task.find("_"), task.find("")) == ("-", "+", None, None)


@given(TEXTS)
def test_plain_is_the_same_done_twice_and_whatever_the_composition(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    for form in ("NFC", "NFD", "NFKC"):
        assert plain(unicodedata.normalize(form, text)) == plain(text)


def test_a_label_is_found_by_name_and_synonym() -> None:
    task = Task(domain="leaf", labels=(Label(name="scab", synonyms=("Apfelschorf", "V. inaequalis")), Label(name="ok")))
    assert task.names == ("scab", "ok")
    assert [task.find(text) for text in ("SCAB", "apfelschorf ", "v. Inaequalis", "ok", "rust")] == [
        "scab", "scab", "scab", "ok", None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "at least 2 items"),
        (["one"], "at least 2 items"),
        (["scab", "Scab "], "'scab' stands for both 'scab' and 'Scab'"),
        (["scab", "  "], "labels.1.name"),
        (["scab", "x" * 2001], "labels.1.name"),
    ],
)
def test_labels_that_make_no_task_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(TaskError, match=r"^no valid task in the labels: ") as caught:
        Task.from_labels(names)
    assert words in str(caught.value)


def test_a_synonym_may_not_name_another_label(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("labels: [scab, {name: rust, synonyms: [SCAB]}]")
    with pytest.raises(TaskError, match="'scab' stands for both 'scab' and 'rust'"):
        Task.from_file(tmp_path / "task.yaml")


def test_a_file_holds_names_or_whole_labels(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(
        "domain: apple leaf\nlabels:\n- healthy\n- name: scab\n  descriptions: [olive spots]\n  synonyms: [Schorf]\n"
    )
    task = Task.from_file(tmp_path / "task.yaml")
    assert task == Task(
        domain="apple leaf",
        labels=(Label(name="healthy"), Label(name="scab", descriptions=("olive spots",), synonyms=("Schorf",))),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("labels: [a, b]\nlabel: c", ["label:"]),
        ("labels: [a, {name: b, color: red}]", ["labels.1.color"]),
        ("labels: [yes, no]", ["the label True must be text; put it in quotes"]),
        ("labels: [1, 2]", ["the label 1 must be text"]),
        ("labels: a, b", ["labels"]),
        ("", ["labels: Field required"]),
        ("- a", ["must hold a mapping", "not a list"]),
        ("labels: [a, b]\nlabels: [c, d]", ["line 2", "'labels' stands twice"]),
        ("domain: 2020-13-45\nlabels: [a, b]", ["not valid YAML", "quote"]),
        ("labels: [a", ["not valid YAML", "line 1"]),
    ],
)
def test_a_file_that_is_no_task_is_refused_by_name(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(TaskError) as caught:
        Task.from_file(path)
    for word in (f"the task file '{path}'", *words):
        assert word in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no\.yaml' cannot be read: No such file"):
        Task.from_file(tmp_path / "no.yaml")
    with pytest.raises(TaskError, match="cannot be read: Is a directory"):
        Task.from_file(tmp_path)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=4), TEXTS)
@example([("a\x85b", "next\x85line"), ("c d", "line\u2028separator")], "two\x85lines")
@example([("1e3", "12:30"), ("0x1F", "007")], "0E0")
def test_yaml_restores_any_task(
    tmp_path_factory: pytest.TempPathFactory, labels: list[tuple[str, str]], domain: str
) -> None:
    try:
        task = Task(domain=domain, labels=tuple(Label(name=name, descriptions=(text,)) for name, text in labels))
    except pydantic.ValidationError:
        return
    path = tmp_path_factory.getbasetemp() / "task.yaml"
    path.write_text(task.to_yaml(), encoding="utf-8")
    assert Task.from_file(path) == task


def test_names_that_yaml_would_take_for_something_else_survive(tmp_path: Path) -> None:
    task = Task.from_labels(["yes", "no", "null", "1", "2024-05-01", "a: b", "锈病", "🍎"])
    (tmp_path / "task.yaml").write_text(task.to_yaml(), encoding="utf-8")
    assert Task.from_file(tmp_path / "task.yaml") == task
    assert "锈病" in task.to_yaml()


def test_a_task_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        Task.from_labels("ab").domain = "other"
