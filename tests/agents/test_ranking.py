"""Answers of several labels: how they are read, written as probabilities, and told from others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience import Task
from consilience.agents.ranking import ranked, read_places, shares_of
from consilience.core.errors import AnswerError

TASK = Task.from_labels(["apple scab", "black or brown rot", "canker", "rust", "a|b"])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("rust", (("rust",),)),
        ("Rust | apple_scab", (("rust",), ("apple scab",))),
        ("rust|canker|apple scab", (("rust",), ("canker",), ("apple scab",))),
        ("rust OR canker", (("rust", "canker"),)),
        ("'rust' or \"canker\" | apple scab", (("rust", "canker"), ("apple scab",))),
        ("Black or brown rot", (("black or brown rot",),)),  # a label as a whole
        ("a|b", (("a|b",),)),
        ("rust | ", (("rust",),)),
        ("| |", ()),
        ("unsure", ()),
        ("rust | canker | apple scab or black-brown rot | a", None),
        ("rust | mildew", None),
        ("rust or", None),
        ("rust | rust", None),
        ("rust | unsure", None),
        ("not rust", None),
        ("rust" + " | rust" * 100_000, None),
        ("rust" + " " * 1_000_000 + "canker", None),
    ],
)
def test_what_is_read(text: str, places: tuple[tuple[str, ...], ...] | None) -> None:
    if places is not None:
        assert read_places(text, TASK) == places
        return
    with pytest.raises(AnswerError) as error:
        read_places(text, TASK)
    assert len(str(error.value)) < 300


def test_what_comes_last_of_all_labels_says_nothing_more() -> None:
    three = Task.from_labels(["a", "b", "c"])
    assert read_places("b | a | c", three) == read_places("b | a", three)
    assert read_places("b | a or c", three) == read_places("b", three)
    assert read_places("a or b or c", three) == ()


def test_a_place_gets_half_of_the_one_before() -> None:
    assert shares_of((("a",), ("b",), ("c",))) == pytest.approx({"a": 4 / 7, "b": 2 / 7, "c": 1 / 7})
    assert shares_of((("a", "b"), ("c",))) == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2})
    assert shares_of((("a",),)) == {"a": 1.0}


@given(st.permutations(range(6)), st.lists(st.booleans(), min_size=1, max_size=4))
def test_what_was_written_is_known_again_in_any_order(order: list[int], ties: list[bool]) -> None:
    places: list[list[str]] = [[str(order[0])]]
    for label, tie in zip(order[1:], ties, strict=False):
        if tie:
            places[-1].append(str(label))
        else:
            places.append([str(label)])
    row = np.zeros((1, 6))
    for name, share in shares_of(tuple(map(tuple, places))).items():
        row[0, int(name)] = share
    assert ranked(row).tolist() == [True]
    assert ranked(row.astype(np.float32).astype(float) + 0.01).tolist() == [False]  # nothing is left out: probabilities


def test_other_answers_are_no_rankings() -> None:
    others = [[1, 0, 0, 0], [0.7, 0.1, 0.1, 0.1], [0.9, 0.1, 0, 0], [0.25] * 4, [0.5, 0.25, 0.125, 0.125], [np.nan] * 4]
    assert not ranked(np.array(others)).any()
