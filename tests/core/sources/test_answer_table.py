"""Tables of answers: long and wide, in every form of file, and each thing that is wrong with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.errors import DatasetError
from consilience.core.sources.answer_arrays import AnswerArrays
from consilience.core.sources.answer_table import AnswerTable, is_answer_table
from consilience.core.sources.answers import Answer, AnsweredImage

LONG: list[dict[str, Any]] = [
    {"image": "b.jpg", "agent": "qwen2:7b", "truth": "Rust", "label": "rust", "confidence": 0.9, "group": "tree 1"},
    {"image": "a.jpg", "agent": "qwen2:7b", "truth": "scab", "label": "", "confidence": None, "group": None},
    {"image": "b.jpg", "agent": "Ann", "truth": "rust", "label": "canker?", "confidence": None, "group": "tree 1"},
]
IMAGES = [
    AnsweredImage("b.jpg", (Answer("qwen2:7b", label="rust", confidence=0.9), Answer("Ann", label="canker?")), "Rust",
                  "tree 1", 1),
    AnsweredImage("a.jpg", (Answer("qwen2:7b"),), "scab", None, 2),
]  # fmt: skip


def as_csv(folder: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
    (folder / "answers.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return folder / "answers.csv"


def as_parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "answers.parquet")
    return folder / "answers.parquet"


def as_json_lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "answers.jsonl"


Write = Callable[[Path, list[dict[str, Any]]], Path]


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_json_lines])
def test_the_rows_of_an_image_may_stand_anywhere(tmp_path: Path, write: Write) -> None:
    with AnswerTable(write(tmp_path, LONG)) as table:
        assert [*table.images()] == IMAGES
        assert (table.agents, table.revising, table.truths) == (["qwen2:7b", "Ann"], [], {"Rust": 1, "scab": 1})
        assert len(table) == 2


def test_rows_may_come_from_python(tmp_path: Path) -> None:
    assert [*AnswerTable(iter(LONG)).images()] == IMAGES


@pytest.mark.parametrize("write", [as_csv, as_parquet, as_json_lines])
def test_a_wide_table_has_columns_for_each_agent(tmp_path: Path, write: Write) -> None:
    row = {
        "image": "a.jpg",
        "qwen2:7b": "scab",
        "qwen2:7b:confidence": 0.8,
        "qwen2:7b:revised": "rust",
        "clip:p_scab": 0.25,
        "clip:p_rust": 0.75,
        "net:logits_scab": 0.0,
        "net:logits_rust": math.log(3.0),
    }
    with AnswerTable(write(tmp_path, [row])) as table:
        (image,) = table.images()
        said = {(answer.agent, answer.stage): answer for answer in image.answers}
        assert image.truth is None
        assert said["qwen2:7b", "first"] == Answer("qwen2:7b", label="scab", confidence=0.8)
        assert said["qwen2:7b", "second"] == Answer("qwen2:7b", "second", "rust")
        assert said["clip", "first"].shares == {"scab": 0.25, "rust": 0.75}
        assert said["net", "first"].shares == pytest.approx({"scab": 0.25, "rust": 0.75})
        assert (table.revising, table.label_sets) == (["qwen2:7b"], [("scab", "rust")])


def test_probabilities_that_were_rounded_are_scaled() -> None:
    (image,) = AnswerTable([{"image": "a", "agent": "x", "p_scab": "0.333", "p_rust": "0.666"}]).images()
    assert image.answers[0].shares == pytest.approx({"scab": 1 / 3, "rust": 2 / 3})


def test_a_truth_in_one_row_of_an_image_is_enough() -> None:
    rows = [{"image": "a", "agent": "x", "label": "l"}, {"image": "a", "agent": "y", "label": "l", "truth": "l"}]
    assert [image.truth for image in AnswerTable(rows).images()] == ["l"]


P = "image,agent,truth,p_scab,p_rust\n"
L = "image,agent,truth,label,confidence,stage,group\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("image,truth\na,scab\n", "row 1: it has neither a column 'agent' nor a column for an agent's labels"),
        ("agent,label\na,scab\n", r"row 1: it has no column 'image' \(its columns: agent, label\)"),
        ("image,agent,truth\na,x,scab\n", "row 1: it has no column 'label', 'p_<label>' or 'logits_<label>'"),
        ("image,agent,p_a,logits_a\na,x,1,0\n", "row 1: it has both 'p_' and 'logits_' columns"),
        ("image,x,x:p_a,x:logits_a\na,a,1,0\n", "it has both 'p_' and 'logits_' columns of 'x'"),
        ("image,x:confidence\na,0.5\n", "it has no column 'label', 'p_<label>' or 'logits_<label>' of 'x'"),
        ("image,agent,label,label\na,x,b,b\n", "has more than one column 'label'"),
        (P, "the answers '.*' hold no rows"),
        (P + "a,x,scab,0.7,0.3\n ,x,scab,0.7,0.3\n", "row 2: 'image' is empty"),
        (P + "a,x,scab,0.7,0.3\nb,,scab,0.7,0.3\n", "row 2: 'agent' is empty"),
        (P + "a,x,scab,0.7,0.3\nb,x,scab,0.7,0.2\n", "row 2: the probabilities sum to 0.9, not to 1"),
        (P + "a,x,scab,70,30\n", r"row 1: 'p_scab' is 70, not in \[0, 1\]"),
        (P + "a,x,scab,-0.1,1.1\n", r"row 1: 'p_scab' is -0.1, not in \[0, 1\]"),
        (P + "a,x,scab,nan,0.5\n", "row 1: 'p_scab' is 'nan', not a finite number"),
        (P + "a,x,scab,much,0.5\n", "row 1: 'p_scab' is 'much', not a finite number"),
        (P + "a,x,scab,,0.5\n", "row 1: 'p_scab' is empty, and others of its kind are not"),
        ("image,agent,logits_a,logits_b\na,x,inf,0\n", "row 1: 'logits_a' is 'inf', not a finite number"),
        (L + "a,x,scab,scab,85,,\n", r"row 1: 'confidence' is 85, not in \[0, 1\]"),
        (L + "a,x,scab,scab,,last,\n", "row 1: 'stage' is 'last', neither 'first' nor 'revised'"),
        (L + "a,x,scab,scab,,revised,\n", "'x' has revised answers and no first ones"),
        (L + "a,x,scab,scab,,,\nb,x,scab,scab,,,\na,x,scab,rust,,,\n", "row 3: 'a' has an answer of 'x' already, in "
         "row 1; leave one of them out"),
        (L + "a,x,scab,scab,,,\nb,x,scab,scab,,,\na,y,rust,scab,,,\n", "row 3: the truth of 'a' is 'rust', and 'scab' "
         "in row 1"),
        (L + "a,x,,scab,,,g\na,y,,scab,,,f\n", "row 2: the group of 'a' is 'f', and 'g' in row 1"),
        (L + "a,x,scab\n", "line 2: 3 cells for 7 columns"),
        (L + 'a,"x,scab,scab,,,\n', "line 2, is not CSV"),
        ((L + "a,x,fäule,fäule,,,\n").encode("latin-1"), "not in UTF-8 .line 2: byte 0xe4, perhaps Latin-1."),
        ((L + "a,x,scab,scab,,,\n").encode("utf-16"), "is not in UTF-8 .it is UTF-16."),
        ((L + "a,x,scab,scab,,,\n").encode("utf-16-le"), "looks like UTF-16"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_row(tmp_path: Path, text: str | bytes, problem: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=problem):
        AnswerTable(path)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"image": "a", "agent": "x", "label": ["rust"]}, "'label' is \\['rust'\\], neither text nor a whole number"),
        ({"image": 1.5, "agent": "x", "label": "rust"}, "'image' is 1.5"),
        ({"image": "\ud800", "agent": "x", "label": "rust"}, "which is not Unicode"),
        ({"image": "a", "agent": "x", "label": "rust", "confidence": True}, "'confidence' is True, not a finite"),
    ],
)
def test_values_of_another_kind_are_refused(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        AnswerTable([row])


def test_a_number_is_a_name_and_a_missing_value_is_no_answer() -> None:
    (image,) = AnswerTable([{"image": 7, "agent": "x", "label": math.nan, "truth": 4}]).images()
    assert image == AnsweredImage("7", (Answer("x"),), "4", None, 1)


def test_a_manifest_is_no_table_of_answers(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label,image\na.jpg,scab,1\n")
    (tmp_path / "a.jsonl").write_text('\n{"image": "a", "x": "scab"}\n')
    (tmp_path / "empty.csv").write_text("")
    found = {name: is_answer_table(tmp_path / name) for name in ("m.csv", "a.jsonl", "empty.csv", "photos", "v.npz")}
    assert found == {"m.csv": False, "a.jsonl": True, "empty.csv": False, "photos": False, "v.npz": False}
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        is_answer_table(tmp_path / "gone.csv")


def test_arrays_hold_the_same_as_a_table() -> None:
    shares = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.4, 0.6], [np.nan, np.nan]]])
    revised = np.full_like(shares, np.nan)
    revised[1, 0] = 1.0, 0.0
    arrays = AnswerArrays(shares, ["rust", "scab"], ["rust", None], agents=["m", "n"], groups=["t", "t"],
                          revised=revised)  # fmt: skip
    table = AnswerTable(
        [
            {"image": "1", "agent": "m", "p_rust": 0.9, "p_scab": 0.1, "truth": "rust", "group": "t"},
            {"image": "1", "agent": "n", "p_rust": 0.4, "p_scab": 0.6, "group": "t"},
            {"image": "1", "agent": "n", "p_rust": 1.0, "p_scab": 0.0, "group": "t", "stage": "revised"},
            {"image": "2", "agent": "m", "p_rust": 0.2, "p_scab": 0.8, "group": "t"},
        ]
    )
    for one, other in zip(arrays.images(), table.images(), strict=True):
        assert (one.name, one.truth, one.group) == (other.name, other.truth, other.group)
        assert [(a.agent, a.stage) for a in one.answers] == [(b.agent, b.stage) for b in other.answers]
        for a, b in zip(one.answers, other.answers, strict=True):
            assert a.shares == pytest.approx(b.shares)
    assert (arrays.agents, arrays.revising, arrays.label_sets) == (table.agents, table.revising, table.label_sets)
    assert dict(arrays.truths) == dict(table.truths) == {"rust": 1}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"shares": np.ones((2, 3))}, r"of shape \(2, 3\), not \(agents, images, labels\)"),
        ({"labels": ["rust"]}, "1 labels for answers of shape"),
        ({"truth": ["rust"]}, "1 truth for answers"),
        ({"labels": ["rust", "rust"]}, "a name stands twice among the labels: 'rust'"),
        ({"shares": np.array([[[0.5, 0.5], [0.5, 0.4]]])}, r"'agent-1' on the image '2' \(row 2\) is \[0.5 0.4\]"),
        ({"shares": np.array([[[0.5, 0.5], [0.5, np.nan]]])}, r"row 2\) is \[0.5 nan\]; give numbers in \[0, 1\]"),
        ({"shares": np.array([[[1.5, -0.5], [0.5, 0.5]]])}, r"row 1\) is \[ 1.5 -0.5\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments: dict[str, Any], problem: str) -> None:
    usual: dict[str, Any] = {"shares": np.full((1, 2, 2), 0.5), "labels": ["rust", "scab"]}
    with pytest.raises(DatasetError, match=problem):
        AnswerArrays(**usual | arguments)


ANSWERS = st.dictionaries(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["Ann", "Bob", "x:y"]), st.sampled_from(["", "revised"])),
    st.one_of(st.sampled_from(["", "rust", "scab"]), st.floats(0, 1)),
    min_size=1,
)


@given(ANSWERS, st.randoms(use_true_random=False))
def test_no_order_of_rows_and_no_form_changes_what_is_read(
    said: dict[tuple[str, str, str], str | float], random: Random
) -> None:
    first = {(image, agent) for image, agent, stage in said if not stage}
    said = {key: value for key, value in said.items() if key[:2] in first}
    rows: list[dict[str, Any]] = []
    wide: dict[str, dict[str, Any]] = {}
    for (image, agent, stage), value in said.items():
        own = {"label": value} if isinstance(value, str) else {"p_rust": value, "p_scab": 1 - value}
        rows.append({"image": image, "agent": agent, "stage": stage, "label": "", **own})
        look = agent + (f":{stage}" if stage else "")
        named = {look: value} if isinstance(value, str) else {f"{look}:{column}": cell for column, cell in own.items()}
        wide.setdefault(image, {"image": image}).update(named)
    if not rows:
        return

    def read(given_rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], Answer]:
        images = AnswerTable(given_rows).images()
        return {(image.name, a.agent, a.stage): a for image in images for a in image.answers}

    as_given, shuffled = read(rows), rows[:]
    random.shuffle(shuffled)
    assert len(as_given) == len(said)
    assert read(shuffled) == as_given
    assert read([*wide.values()]) == as_given
