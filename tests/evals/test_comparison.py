"""Evaluations side by side: which images are the same, figures known by hand, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from consilience.core.errors import EvaluationError
from consilience.evals import compare
from consilience.evals.evaluation import write_figures
from consilience.evals.rows import ROWS_FILE

LABELS = ("apple", "beech")

Answer = tuple[str, str, float]
"""Image, true label, and the probability of 'apple'."""


def written(
    out: Path,
    answers: Sequence[Answer | None],
    *,
    identities: Mapping[str, str] | None = None,
    referred: Sequence[str] = (),
    labels: tuple[str, ...] = LABELS,
) -> Path:
    """An evaluation as `evaluate` writes it; an image without an answer could not be decided."""
    out.mkdir()
    lines = []
    for number, answer in enumerate(answers):
        image, truth, apple = answer or ("broken", labels[0], 0.0)
        shares = {labels[0]: apple, labels[1]: 1.0 - apple}
        row: dict[str, Any] = {
            "row": number, "source": image, "identity": (identities or {}).get(image), "truth": truth, "leak": False,
            "label": max(shares, key=shares.__getitem__), "posterior": shares, "rounds": 1, "cost_usd": 0.25,
            "verdict": "refer" if image in referred else "confident", "error": None, "seconds": 0.1,
            "predictions": [], "prediction_set": [], "reasons": [], "rationale": "", "evidence": None,
        }  # fmt: skip
        if answer is None:
            row |= {"label": None, "posterior": None, "verdict": None, "error": "damaged", "cost_usd": 0.0}
        lines.append(json.dumps(row) + "\n")
    (out / ROWS_FILE).write_text("".join(lines))
    (out / "run.json").write_text(json.dumps({"panel": {"id": out.name}}))
    write_figures(out, labels)
    return out


def answers(right: str) -> list[Answer]:
    """Images a, b, ...; '1' where the panel is right."""
    return [("abcdefghij"[n], "apple", 0.9 if mark == "1" else 0.2) for n, mark in enumerate(right)]


def test_figures_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    first = written(tmp_path / "first", answers("1111000000"), referred="bcdefghij")
    second = written(tmp_path / "second", answers("1110111110"), referred="abcde")
    comparison = compare([first, second])
    before, after = comparison.sides
    assert (comparison.labels, comparison.n, before.panel, after.panel) == (LABELS, 10, "first", "second")
    assert (before.accuracy, after.accuracy) == (0.4, 0.8)
    assert (before.difference, before.change, before.better) == (None, None, ())
    assert after.difference is not None
    assert (after.difference.difference, after.difference.only_first, after.difference.only_second) == (0.4, 5, 1)
    assert after.difference.p_value == pytest.approx(2 * (1 + 6) / 2**6)  # of 6 that differ, at most 1 the other way
    assert after.difference.low < 0.4 < after.difference.high
    assert after.change is not None
    assert (after.change.n, after.change.changed, after.change.better, after.change.worse) == (10, 6, 5, 1)
    assert (after.better, after.worse) == (tuple("efghi"), ("d",))
    assert (before.settled.n, before.settled.accuracy) == (1, 1.0)
    assert (after.settled.share, after.settled.accuracy) == (0.5, 0.8)
    assert before.ece == pytest.approx(0.4 * 0.1 + 0.6 * 0.8)  # 0.9 sure and right; 0.8 sure and wrong
    assert after.cost_usd == 2.5
    assert json.loads(json.dumps(comparison.to_dict()))["sides"][1]["difference"]["only_first"] == 5


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    first = written(tmp_path / "first", answers("1100"))
    second = written(tmp_path / "second", answers("1010")[::-1])
    after = compare([first, second]).sides[1]
    assert (after.better, after.worse) == (("c",), ("b",))


def test_equal_pixels_are_the_same_image_whatever_its_name_is(tmp_path: Path) -> None:
    first = written(tmp_path / "first", [("old/x", "apple", 0.9)], identities={"old/x": "11"})
    second = written(tmp_path / "second", [("new/y", "apple", 0.1)], identities={"new/y": "11"})
    comparison = compare([first, second])
    assert (comparison.n, comparison.sides[1].worse) == (1, ("new/y",))


def test_changed_pixels_under_the_same_name_are_the_same_image(tmp_path: Path) -> None:
    first = written(tmp_path / "first", [("x", "apple", 0.9)], identities={"x": "11"})
    second = written(tmp_path / "second", [("x", "apple", 0.1)], identities={"x": "22"})
    assert compare([first, second]).n == 1


def test_one_name_is_not_given_to_two_images(tmp_path: Path) -> None:
    """What is called x in the second is, by its pixels, y of the first; then z cannot be y by its name."""
    first = written(tmp_path / "first", [("y", "apple", 0.9)], identities={"y": "11"})
    both: list[Answer | None] = [("y", "apple", 0.9), ("x", "apple", 0.1)]
    second = written(tmp_path / "second", both, identities={"y": "22", "x": "11"})
    comparison = compare([first, second])
    assert (comparison.n, comparison.sides[1].worse, comparison.sides[1].apart_named) == (1, ("x",), ("y",))


def test_an_image_that_stands_twice_counts_twice(tmp_path: Path) -> None:
    twice: list[Answer | None] = [("x", "apple", 0.9), ("x", "apple", 0.9)]
    first = written(tmp_path / "first", twice, identities={"x": "11"})
    second = written(tmp_path / "second", twice, identities={"x": "11"})
    assert compare([first, second]).n == 2


def test_images_that_not_all_decided_are_counted_and_named(tmp_path: Path) -> None:
    first = written(tmp_path / "first", answers("1111"))
    second = written(tmp_path / "second", [*answers("11"), None, ("other", "beech", 0.1)])
    comparison = compare([first, second])
    assert [(side.apart, side.apart_named) for side in comparison.sides] == [(2, ("c", "d")), (2, ("broken", "other"))]
    assert (comparison.n, comparison.sides[0].cost_usd) == (2, 0.5)


def test_one_name_with_another_label_is_another_image(tmp_path: Path) -> None:
    first = written(tmp_path / "first", [("x", "apple", 0.9), ("y", "apple", 0.9)])
    second = written(tmp_path / "second", [("x", "beech", 0.9), ("y", "apple", 0.9)])
    assert compare([first, second]).n == 1


def test_three_are_compared_on_what_all_have(tmp_path: Path) -> None:
    folders = [written(tmp_path / name, answers("1" * n)) for name, n in (("one", 5), ("two", 4), ("three", 3))]
    assert [side.apart for side in compare(folders).sides] == [2, 1, 0]


def test_what_cannot_be_compared_is_said_in_a_line(tmp_path: Path) -> None:
    first = written(tmp_path / "first", answers("11"))
    agents_only = Path(shutil.copytree(first, tmp_path / "agents-only"))
    write_figures(agents_only, LABELS, agents_only=True)
    unfinished = Path(shutil.copytree(first, tmp_path / "unfinished"))
    (unfinished / "metrics.json").unlink()
    damaged = Path(shutil.copytree(first, tmp_path / "damaged"))
    (damaged / "metrics.json").write_text("{")
    (tmp_path / "empty").mkdir()
    others = {
        tmp_path / "empty": "holds no evaluation",
        tmp_path / "nowhere": "holds no evaluation",
        unfinished: "run the same command again first",
        damaged: "was damaged",
        agents_only: "only the agents were judged",
        written(tmp_path / "labels", [("a", "pear", 0.9)], labels=("pear", "beech")): "not in both: apple, pear",
        written(tmp_path / "images", [("z", "apple", 0.9)]): "no image was decided in all of",
    }
    for other, problem in others.items():
        with pytest.raises(EvaluationError, match=problem) as caught:
            compare([first, other])
        assert "\n" not in str(caught.value)
        assert other.name in str(caught.value)
    with pytest.raises(EvaluationError, match="two evaluations or more"):
        compare([first])
