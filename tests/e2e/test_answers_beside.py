"""Answers that exist already, beside a folder of images: fitted, judged, diagnosed, and refused where they are wrong.

The images are noise, which tells a head nothing: what a diagnosis knows it has from the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience import Diagnoser, fit
from consilience.core.errors import DatasetError, SettingsError
from consilience.orchestrator.panel.panel import Panel
from tests.support.answer_rows import as_csv
from tests.support.commands import Invoke
from tests.support.made_once import made_once

QUICK = ["neighbours"]
EACH = 12

Rows = list[dict[str, Any]]


def noise(folder: Path, each: int, seed: int) -> Path:
    """Write pictures of noise, called rust/<seed>-0.png and so on."""
    random = np.random.default_rng(seed)
    for label in ("rust", "scab"):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(folder / label / f"{seed}-{number}.png")
    return folder


def said(folder: Path) -> Rows:
    """'resnet' states labels, all but one in six are right; 'clip' gives probabilities, all but one in four are."""
    rows: Rows = []
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        truth, other = path.parent.name, {"rust": "scab", "scab": "rust"}[path.parent.name]
        image = path.relative_to(folder).as_posix()
        rows.append({"image": image, "agent": "resnet", "label": truth if number % 6 else other})
        sure = truth if number % 4 != 1 else other
        rows.append({"image": image, "agent": "clip", "p_rust": 0.9 if sure == "rust" else 0.1})
        rows[-1]["p_scab"] = 1 - rows[-1]["p_rust"]
    return rows


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "noise-train", lambda folder: noise(folder, EACH, 1))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "noise-test", lambda folder: noise(folder, 6, 2))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    return as_csv(tmp_path_factory.mktemp("answers") / "theirs.csv", said(photos))


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, photos: Path, theirs: Path) -> Path:
    """A panel of one head, and two agents of a table. Not to be changed."""
    path = tmp_path_factory.mktemp("beside") / "panel"
    fit(photos, path, answers=theirs, group="none", agents=QUICK)
    return path


def test_they_join_the_panel_and_are_weighed(beside: Path, theirs: Path) -> None:
    opened = Panel.open(beside)
    assert opened.agents == ("neighbours", "resnet", "clip")
    trust = {member.agent: member.trust for member in opened.members}
    assert (trust["resnet"].n, trust["clip"].n) == (2 * EACH, 2 * EACH)
    assert trust["resnet"].accuracy == pytest.approx(20 / 24)  # by hand: 4 of 24 are wrong
    assert trust["clip"].accuracy == pytest.approx(18 / 24)
    kinds = {member.agent: member.calibrator.kind for member in opened.members}
    assert kinds["resnet"] != kinds["clip"]  # what a label is worth is counted; probabilities are scaled
    assert [(model.name, model.place) for model in opened.models] == [("resnet", str(theirs)), ("clip", str(theirs))]


def test_the_commands_take_them(tmp_path: Path, beside: Path, new: Path, invoke: Invoke) -> None:
    more, out = as_csv(tmp_path / "more.csv", said(new)), tmp_path / "out"
    judged = invoke("evaluate", new, "--panel", beside, "--answers", more, "--out", out, "--json")
    assert judged.exit_code == 0, judged.output
    agents = {agent["who"]: agent for agent in json.loads(judged.stdout)["agents"]}
    assert (agents["resnet"]["n"], agents["resnet"]["accuracy"]) == (12, pytest.approx(10 / 12))
    image = new / "scab" / "2-1.png"
    shown = invoke("diagnose", image, "--panel", beside, "--answers", more, "--json", "--no-history")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["label"] == "scab"  # both agents of the table say so
    assert "its answers stand in" in " ".join(invoke("show", beside).stdout.split())
    again = as_csv(more, said(new)[:-2])  # other answers are another run
    assert invoke("evaluate", new, "--panel", beside, "--answers", again, "--out", out).exit_code == 1


def test_its_table_is_read_elsewhere_only_once_it_is_confirmed(
    tmp_path: Path, beside: Path, new: Path, theirs: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSILIENCE_CONFIG", str(tmp_path / "another user"))
    command = ("diagnose", new / "rust" / "2-0.png", "--panel", beside, "--no-history")
    refused = invoke(*command)
    assert (refused.exit_code, f"'clip' in the file '{theirs}'" in refused.stderr) == (1, True)
    shown = " ".join(invoke("show", beside).stdout.split())
    assert f"its answers stand in {theirs}; not confirmed" in shown
    assert invoke("confirm", beside, "--yes").exit_code == 0
    assert invoke(*command).exit_code == 4  # both agents of the table know nothing of this image
    assert "not confirmed" not in invoke("show", beside).stdout


def test_without_an_answer_to_a_new_image_the_others_go_on(
    tmp_path: Path, beside: Path, new: Path, invoke: Invoke
) -> None:
    image = new / "rust" / "2-0.png"
    shown = invoke("diagnose", image, "--panel", beside, "--no-history")
    assert shown.exit_code == 4
    assert "theirs.csv has no answer of 'resnet' for this image" in " ".join(shown.stderr.split())
    some = as_csv(tmp_path / "some.csv", [row for row in said(new) if row["agent"] == "clip"])
    with Diagnoser.open(beside, answers=some) as diagnoser:
        diagnosis = diagnoser.diagnose(image)
    causes = {prediction.agent: prediction.error for prediction in diagnosis.predictions}
    assert causes == {
        "neighbours": None,
        "resnet": "theirs.csv has no answer of 'resnet' for this image",
        "clip": None,
    }


def test_a_panel_whose_table_is_gone_goes_on_without_it(tmp_path: Path, beside: Path, photos: Path) -> None:
    gone = [{"kind": "answers", "name": name, "path": tmp_path / "gone.csv"} for name in ("resnet", "clip")]
    with Diagnoser.open(beside, models=gone) as diagnoser:
        diagnosis = diagnoser.diagnose(photos / "rust" / "1-0.png")
    assert [bool(prediction.error) for prediction in diagnosis.predictions] == [False, True, True]
    assert "gone.csv' cannot be read: No such file" in str(diagnosis.predictions[1].error)


def test_what_is_missing_is_counted_and_named(tmp_path: Path, photos: Path, invoke: Invoke) -> None:
    rows = [row for row in said(photos) if row["image"].startswith("scab/") or row["agent"] == "clip"]
    rows = [row for row in rows if row["image"] != "scab/1-11.png"]
    rows += [{"image": f"gone/{number}.png", "agent": "clip", "p_rust": 1, "p_scab": 0} for number in range(5)]
    rows.append({"image": "rust/1-0.png", "agent": "shy", "label": "rust"})
    rows += [{"image": f"rust/1-{number}.png", "agent": "resnet", "label": "canker"} for number in (0, 1)]
    table = as_csv(tmp_path / "theirs.csv", rows)
    fitted = invoke(
        "fit", photos, "--answers", table, "--panel", tmp_path / "p", "--group", "none", "--set", "agents=neighbours"
    )
    assert fitted.exit_code == 4, fitted.output
    words = " ".join(fitted.stderr.split())
    assert "also of images that the labelled ones lack: 'gone/0.png', 'gone/1.png', 'gone/2.png' and 2 more" in words
    cause = "theirs.csv has no answer of 'resnet' for this image"  # of eleven; for two it names no label of the folder
    assert f"'resnet' did not answer about 13 of 24 images. The cause: {cause}" in words
    assert [choice.agent for choice in Panel.open(tmp_path / "p").choices if not choice.kept] == ["shy"]
    assert "theirs.csv has no answer of 'shy' for" in Panel.open(tmp_path / "p").choices[0].reason
    assert f"are not of these labelled images: '{photos / 'scab' / '1-11.png'}'" in words
    trust = {member.agent: member.trust.n for member in Panel.open(tmp_path / "p").members}
    assert trust == {"neighbours": 24, "clip": 23, "resnet": 11}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"truth": "scab"}, r"row 1: the truth of 'rust/1-0\.png' is 'scab', and the image's 'rust'"),
        ({"agent": "probe"}, "'probe' is the name of a built-in agent"),
        ({"p_rust": 0.5, "p_canker": 0.5}, "probabilities of 'canker', which is no label of the task"),
        ({"confidence": 2}, r"row 1: 'confidence' is 2, not in \[0, 1\]"),
        ({"agent": "x" * 101}, "longer than 100 characters"),
    ],
)
def test_wrong_answers_are_refused_with_their_row(
    tmp_path: Path, photos: Path, change: Mapping[str, Any], problem: str
) -> None:
    rows = [row for row in said(photos) if row["agent"] == "resnet"]
    table = as_csv(tmp_path / "theirs.csv", [{**rows[0], **change}, *rows[1:]])
    with pytest.raises((DatasetError, SettingsError), match=problem):
        fit(photos, tmp_path / "panel", answers=table, group="none", agents=QUICK)
    assert not (tmp_path / "panel").exists()


def test_wrong_tables_are_refused(tmp_path: Path, photos: Path, beside: Path, invoke: Invoke) -> None:
    paths = tmp_path / "paths.csv"
    paths.write_text("path,label\nrust/1-0.png,rust\n")
    strange = as_csv(tmp_path / "strange.csv", [{"image": "x.png", "agent": "resnet", "label": "rust"}])
    bare = as_csv(tmp_path / "bare.csv", [{"image": "1-0.png", "agent": "resnet", "label": "rust"}])
    other = as_csv(tmp_path / "other.csv", [{"image": "rust/1-0.png", "agent": "neighbours", "label": "rust"}])
    panel = "--panel", tmp_path / "panel", "--set", "agents=neighbours"
    for arguments, code, problem in (
        (("fit", photos, "--answers", paths, *panel), 1, "it has no column 'image' (its columns: path, label)"),
        (("fit", photos, "--answers", strange, *panel), 1, "are of none of the labelled images: they call one 'x.png'"),
        (("fit", photos, "--answers", bare, *panel), 1, "call two images '1-0.png'"),
        (("fit", photos, "--answers", photos, *panel), 1, "are no file .csv, .parquet or .jsonl"),
        (("fit", photos, "--answers", tmp_path / "gone.csv", *panel), 1, "gone.csv' cannot be read: No such file"),
        (("fit", strange, "--answers", strange, *panel), 2, "--answers go with images; here are answers"),
        (("diagnose", photos, "--panel", beside, "--answers", other), 1, "are of neighbours, and the panel was not"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == code, result.output
        assert problem in " ".join(result.output.split())
    assert not (tmp_path / "panel").exists()
