"""`consilience stress` and `consilience compare` as a user runs them, on drawn shapes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience.evals import stress
from tests.support.answer_rows import answer_rows, as_csv
from tests.support.commands import Invoke

IMAGES = 6

pytestmark = pytest.mark.slow  # every image is asked about under every condition


@pytest.fixture(scope="module")
def stressed(shapes: Path, fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run. Not to be changed."""
    out = tmp_path_factory.mktemp("stressed") / "out"
    stress(shapes, fitted, out, sample=IMAGES)
    return out


def figures_of(out: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((out / "metrics.json").read_bytes())
    return figures


def test_every_condition_is_measured(stressed: Path) -> None:
    conditions = figures_of(stressed)["conditions"]
    assert len(conditions) == 41
    assert {condition["n"] for condition in conditions} == {IMAGES}
    clean, worst = conditions[0], next(c for c in conditions if (c["corruption"], c["strength"]) == ("blur", 5))
    assert clean["accuracy"] == 1.0
    assert worst["novelty"] > clean["novelty"]
    assert worst["referred"] >= clean["referred"]
    assert set(worst["agents"]) == {"neighbours", "probe", "gaussian", "tip-adapter"}
    assert all(c["settled_wrong"] == (c["settled"]["n"] - c["settled"]["right"]) / IMAGES for c in conditions)


def test_it_goes_on_where_it_was_and_ends_the_same(stressed: Path, shapes: Path, fitted: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def watch(done: int, total: int, seen: str) -> None:
        assert total == 41 * IMAGES
        if seen == "blur-2" and done % IMAGES == 0:
            raise Killed

    out = tmp_path / "out"
    with pytest.raises(Killed):
        stress(shapes, fitted, out, sample=IMAGES, watch=watch)
    written = (out / "noise-3" / "predictions.jsonl").read_bytes()
    assert not (out / "metrics.json").exists()
    stress(shapes, fitted, out, sample=IMAGES)
    assert (out / "noise-3" / "predictions.jsonl").read_bytes() == written
    assert figures_of(out) == figures_of(stressed)


def test_the_command_says_whether_the_panel_refers(invoke: Invoke, stressed: Path, shapes: Path, fitted: Path) -> None:
    """The run is finished: the command decides nothing, and shows what was found."""
    command = ("stress", shapes, "--panel", fitted, "--out", stressed, "--sample", IMAGES)
    result = invoke(*command)
    assert result.exit_code == 0
    assert "Settled and wrong" in result.stdout
    assert figures_of(stressed)["answer"] in result.stdout
    assert "--drop-leaks" not in result.stderr
    assert json.loads(invoke(*command, "--json").stdout) == figures_of(stressed)


def test_the_page_shows_every_corruption_and_needs_no_network(stressed: Path) -> None:
    page = (stressed / "report.html").read_text(encoding="utf-8")
    assert page.count('role="img"') == 8
    assert page.count("<polyline") == 8 * 4
    assert figures_of(stressed)["answer"] in page
    assert not re.search(r"(src|href)=.?http", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_conditions_can_be_compared(invoke: Invoke, stressed: Path) -> None:
    result = invoke("compare", stressed / "clean", stressed / "noise-5", "--json")
    figures = json.loads(result.stdout)
    conditions = {(c["corruption"], c["strength"]): c for c in figures_of(stressed)["conditions"]}
    assert (result.exit_code, figures["n"]) == (0, IMAGES)
    expected = [conditions["clean", 0]["accuracy"], conditions["noise", 5]["accuracy"]]
    assert [side["accuracy"] for side in figures["sides"]] == expected
    output = invoke("compare", stressed / "clean", stressed / "noise-5").stdout
    assert "McNemar" in output
    assert f"of {IMAGES} answers changed" in output


def test_what_cannot_be_used_is_said_in_a_line(invoke: Invoke, shapes: Path, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    labels = np.array(["circle"] * 3)
    np.savez(tmp_path / "vectors.npz", embeddings=np.eye(3, dtype=np.float32), labels=labels, names=labels)
    answers = as_csv(tmp_path / "answers.csv", answer_rows(4))
    for arguments, problem in (
        (("stress", shapes, "--panel", fitted, "--out", tmp_path / "mine"), "holds 'letter.txt'"),
        (("stress", tmp_path / "vectors.npz", "--panel", fitted, "--out", tmp_path / "out"), "holds vectors: only"),
        (("stress", answers, "--panel", fitted, "--out", tmp_path / "out"), "holds answers: only"),
        (("compare", tmp_path / "mine", shapes), "holds no evaluation"),
        (("compare", shapes), "two evaluations or more"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert problem in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
