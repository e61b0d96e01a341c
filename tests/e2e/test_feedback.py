"""From a diagnosis on the command line to a panel that has learned from it, and back."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path

import pytest

from tests.support.commands import Invoke


def diagnosed(invoke: Invoke, panel: Path, image: Path) -> str:
    result = invoke("diagnose", image, "--panel", panel, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    id: str = json.loads(result.stdout)["id"]
    return id


@pytest.mark.slow
def test_a_word_goes_through_review_is_learned_and_undone(
    invoke: Invoke, panel: Path, new_images: dict[str, Path]
) -> None:
    at = ("--panel", panel)
    id = diagnosed(invoke, panel, new_images["circle"])
    voted = invoke("feedback", id, "--label", "circle", "--person", "Ada", *at)
    assert (voted.exit_code, voted.stdout) == (
        0,
        f"Saved; waiting for review. Review it: consilience review --panel {panel}\n",
    )
    invoke("feedback", id, "--label", "square", "--person", "Bo", *at)
    assert invoke("learn", *at).stdout == (
        "Nothing to learn yet: the feedback on 1 diagnosis waits for review. Review it: consilience review --panel "
        f"{panel}\n"
    )
    skipped = invoke("review", *at, stdin="s\n")
    assert "1 of 1: disputed" in skipped.stdout
    assert "1 circle (said by Ada)" in skipped.stdout
    assert "Picture (deleted when the review ends): " in skipped.stdout
    assert skipped.stdout.endswith("0 accepted, 0 refused, 1 still waiting.\n")
    assert invoke("review", *at, stdin="").stdout.endswith("0 accepted, 0 refused, 1 still waiting.\n")
    accepted = invoke("review", "--person", "Cy", *at, stdin="oak\n1\n")
    assert "has no label 'oak'" in accepted.stderr
    assert accepted.stdout.endswith(
        f"1 accepted, 0 refused, 0 still waiting. Teach the panel: consilience learn --panel {panel}\n"
    )
    learned = invoke("learn", *at)
    assert learned.stdout == (
        "Change 1: 1 image joined the panel's memory (circle 1); the agents' trust was measured on 1 of them\n"
    )
    held = json.loads(invoke("show", panel, "--json").stdout)
    assert held["labels"]["circle"] == 15
    assert {agent["n"] for agent in held["agents"]} == {43}
    assert "Change 1: 1 image joined" in invoke("learned", *at).stdout
    assert invoke("undo", "1", *at).stdout == "Change 1 is undone: 1 image left the panel's memory.\n"
    assert json.loads(invoke("show", panel, "--json").stdout)["labels"]["circle"] == 14
    again = invoke("undo", "1", *at)
    assert (again.exit_code, "was undone already" in again.stderr) == (1, True)
    (change,) = json.loads(invoke("learned", "--json", *at).stdout)
    assert change["undone"]


def test_the_command_that_is_printed_can_be_pasted(
    invoke: Invoke, panel: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    spaced = panel.rename(tmp_path / "my panel")
    shown = invoke("diagnose", new_images["circle"], "--panel", spaced).stdout.splitlines()[-1]
    name, *arguments = shlex.split(shown[shown.index("consilience ") :])
    assert name == "consilience"
    assert invoke(*arguments).stdout.startswith("Saved; waiting for review.")


def test_none_of_these_goes_through_review_is_learned_and_undone(
    invoke: Invoke, panel: Path, new_images: dict[str, Path]
) -> None:
    at = ("--panel", panel)
    id = diagnosed(invoke, panel, new_images["square"])
    for both in (("--right", "--none-of-these"), ("--label", "circle", "--none-of-these"), ()):
        wrong = invoke("feedback", id, *both, *at)
        assert (wrong.exit_code, "Give one of --right, --label LABEL and --none-of-these" in wrong.stderr) == (2, True)
    invoke("feedback", id, "--none-of-these", "--person", "Ada", *at)
    shown = invoke("review", *at, stdin="1\n")
    assert "1 none of these (said by Ada)" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("1 accepted")
    (kept,) = (json.loads(line) for line in invoke("history", id, "--json", *at).stdout.splitlines())
    assert [(vote["label"], vote["none_of_these"]) for vote in kept["feedback"]] == [(None, True)]
    learned = invoke("learn", *at)
    assert "1 image joined the panel's memory (none of these 1)" in learned.stdout
    held = json.loads(invoke("show", panel, "--json").stdout)
    assert (held["unknown"], held["labels"]) == (1, {"circle": 14, "square": 14, "stripes": 14})
    assert "1 image that people said to show none of the labels" in invoke("show", panel).stdout
    number = json.loads(invoke("learned", "--json", *at).stdout)[-1]["number"]
    invoke("undo", number, *at)
    assert json.loads(invoke("show", panel, "--json").stdout)["unknown"] == 0


def test_a_reviewer_may_say_none_of_these(invoke: Invoke, panel: Path, new_images: dict[str, Path]) -> None:
    at = ("--panel", panel)
    id = diagnosed(invoke, panel, new_images["stripes"])
    invoke("feedback", id[:10], "--label", "circle", "--person", "Ada", *at)  # the beginning of an id is enough
    assert invoke("review", *at, stdin="0\n").stdout.splitlines()[-1].startswith("1 accepted")
    (kept,) = (json.loads(line) for line in invoke("history", id, "--json", *at).stdout.splitlines())
    assert {(vote["label"], vote["status"]) for vote in kept["feedback"]} == {("circle", "refused"), (None, "counts")}
    invoke("history", id, "--delete", "--yes", *at)


def test_history_lists_shows_exports_and_deletes(
    invoke: Invoke, panel: Path, new_images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--panel", panel)
    ids = [diagnosed(invoke, panel, image) for image in new_images.values()]
    listed = invoke("history", *at)
    assert listed.stderr == "3 of 3 diagnoses\n"
    assert all(id in listed.stdout for id in ids)
    monkeypatch.setenv("COLUMNS", "60")
    assert all(id in invoke("history", *at).stdout for id in ids)  # no table breaks one
    monkeypatch.delenv("COLUMNS")
    shown = invoke("history", ids[0][:10], *at)
    assert "Similar case" in shown.stdout
    lines = invoke("history", "--json", *at).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids[::-1]
    invoke("feedback", ids[2], "--right", "--person", "=1+1", *at)
    rows = list(csv.DictReader(io.StringIO(invoke("history", "--csv", *at).stdout)))
    assert [row["id"] for row in rows] == ids[::-1]
    assert rows[0]["feedback"].startswith("'=1+1: ")  # no formula
    refused = invoke("history", "--delete", "--limit", "1", *at, stdin="n\n")
    assert refused.exit_code == 1
    assert invoke("history", "--delete", "--limit", "1", "--yes", *at).stdout == "1 diagnosis deleted\n"
    gone = invoke("feedback", ids[2], "--right", *at)
    assert (gone.exit_code, "has no diagnosis" in gone.stderr) == (1, True)
    assert invoke("check", panel).exit_code == 0


def test_a_diagnosis_is_not_lost_because_it_cannot_be_kept(
    invoke: Invoke, panel: Path, new_images: dict[str, Path]
) -> None:
    (panel / "history.sqlite").write_bytes(b"something else entirely, and long enough to be a header" * 20)
    result = invoke("diagnose", *new_images.values(), "--panel", panel, "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == list(new_images)
    (line,) = result.stderr.splitlines()  # said once, however many images there are
    assert line.startswith("not saved: ")
    assert "--no-history" in line
    without = invoke("diagnose", new_images["circle"], "--panel", panel, "--json", "--no-history")
    assert without.stderr == ""
    assert "id" not in json.loads(without.stdout)


def test_many_images_are_kept_with_their_pictures(invoke: Invoke, panel: Path, new_images: dict[str, Path]) -> None:
    from consilience.orchestrator.feedback.history import History

    assert invoke("diagnose", *new_images.values(), "--panel", panel).exit_code == 0
    with History.open(panel) as history:
        assert all(diagnosis.thumbnail for diagnosis in history.find())
        assert history.count() == 3


@pytest.mark.slow
def test_a_label_is_added(invoke: Invoke, panel: Path, shapes: Path, tmp_path: Path) -> None:
    import PIL.Image

    (tmp_path / "blank").mkdir()
    for number in range(6):
        PIL.Image.new("RGB", (96, 96), (250 - number, 250, 250)).save(tmp_path / "blank" / f"{number}.png")
    result = invoke("add-label", "blank", tmp_path / "blank", "--synonym", "empty", "--panel", panel)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "6 images, 4 labels" in result.stdout
    twice = invoke("add-label", "Empty", tmp_path / "blank", "--panel", panel)
    assert (twice.exit_code, "'Empty' is the label 'blank' already" in twice.stderr) == (1, True)


def test_drift_has_nothing_to_say_at_first(invoke: Invoke, panel: Path) -> None:
    result = invoke("drift", "--panel", panel)
    assert result.exit_code == 0
    assert "People confirmed or corrected 0 of 0 diagnoses" in result.stdout
    drift = json.loads(invoke("drift", "--panel", panel, "--json").stdout)
    assert [agent["has_fallen"] for agent in drift["agents"]] == [False] * len(drift["agents"])


@pytest.mark.parametrize("words", [("--right", "--label", "circle"), ()])
def test_one_word_is_given_at_a_time(invoke: Invoke, panel: Path, words: tuple[str, ...]) -> None:
    assert invoke("feedback", "0" * 32, *words, "--panel", panel).exit_code == 2
