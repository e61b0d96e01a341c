from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Invoke


def counts(invoke: Invoke, panel: Path) -> dict[str, int]:
    held: dict[str, int] = json.loads(invoke("show", panel, "--json").stdout)["labels"]
    return held


def test_show(invoke: Invoke, fitted: Path) -> None:
    result = invoke("show", fitted)
    assert (result.exit_code, result.stderr) == (0, "")
    for words in (
        "42: circle 14, square 14, stripes 14",
        "efficientnet-lite0, 1280 numbers",
        "generation 1",
        "gaussian",
    ):
        assert words in result.stdout


def test_show_in_json(invoke: Invoke, fitted: Path) -> None:
    held = json.loads(invoke("show", fitted, "--json", "--set", "policy.target=0.5").stdout)
    assert (held["format"], held["generation"], held["encoder"]["name"]) == (1, 1, "efficientnet-lite0")
    assert held["policy"]["target"] == 0.5
    assert held["policy"]["threshold"] >= 0.5
    files = [path for path in (fitted / "state-0001").rglob("*") if path.is_file()]
    assert held["bytes"] == sum(path.stat().st_size for path in files)
    for agent in held["agents"]:
        assert sum(sum(row.values()) for row in agent["confusion"].values()) == agent["n"] == 42


def test_add_and_remove(invoke: Invoke, panel: Path, new_images: dict[str, Path]) -> None:
    added = invoke("add", new_images["circle"], "--label", "Circle", "--panel", panel)
    assert (added.exit_code, added.stdout, added.stderr) == (0, "1 image added\n", "")
    assert counts(invoke, panel) == {"circle": 15, "square": 14, "stripes": 14}
    again = invoke("add", new_images["circle"], "--label", "circle", "--panel", panel)
    assert (again.exit_code, again.stdout) == (0, "0 images added; 1 was already in the panel\n")
    conflict = invoke("add", new_images["circle"], "--label", "square", "--panel", panel)
    assert conflict.exit_code == 1
    assert "the same image" in conflict.stderr
    removed = invoke("remove", new_images["circle"], "--panel", panel)
    assert (removed.exit_code, removed.stdout) == (0, "1 image removed\n")
    assert counts(invoke, panel) == {"circle": 14, "square": 14, "stripes": 14}


def test_add_a_folder(invoke: Invoke, panel: Path, new_images: dict[str, Path]) -> None:
    folder = new_images["circle"].parent
    (folder / "notes.txt").write_text("no image by its name")
    (folder / "broken.png").write_text("no image")
    result = invoke("add", folder, "--label", "stripes", "--panel", panel)
    assert (result.exit_code, result.stdout) == (3, "3 images added\n")
    assert "broken.png" in result.stderr
    assert counts(invoke, panel)["stripes"] == 17


def test_add_refuses_a_label_that_the_panel_lacks(
    invoke: Invoke, panel: Path, new_images: dict[str, Path], tmp_path: Path
) -> None:
    result = invoke("add", new_images["circle"], "--label", "hexagon", "--panel", panel)
    assert result.exit_code == 1
    assert "no label 'hexagon'; it has circle, square, stripes" in result.stderr
    (tmp_path / "empty").mkdir()
    nothing = invoke("add", tmp_path / "empty", "--label", "circle", "--panel", panel)
    assert (nothing.exit_code, nothing.stderr) == (
        1,
        "error: no images were found: give image files, or folders that hold some\n",
    )


def test_remove_takes_all_or_none(invoke: Invoke, panel: Path, shapes: Path) -> None:
    held, unknown = shapes / "circle" / "circle-00.png", shapes / "circle" / "circle-99.png"
    refused = invoke("remove", held, unknown, "--panel", panel)
    assert refused.exit_code == 1
    assert "circle-99.png" in refused.stderr
    assert "circle-00.png" not in refused.stderr
    assert counts(invoke, panel)["circle"] == 14
    every = sorted((shapes / "circle").iterdir())
    too_many = invoke("remove", *every, "--panel", panel)
    assert too_many.exit_code == 1
    assert "without images" in too_many.stderr


@pytest.mark.slow
def test_check_finds_and_repairs_a_damaged_index(invoke: Invoke, panel: Path) -> None:
    assert invoke("check", panel).exit_code == 0
    database = panel / "index" / "chroma.sqlite3"
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    checked = invoke("check", panel)
    assert checked.exit_code == 1
    assert "run the same command with --repair to rebuild the index" in checked.stderr
    repaired = invoke("check", panel, "--repair")
    assert repaired.exit_code == 0
    assert "is whole: all files, and 42 images in the index" in repaired.stdout
    assert invoke("check", panel).exit_code == 0


def test_check_finds_a_changed_file(invoke: Invoke, panel: Path) -> None:
    (panel / "state-0001" / "task.yaml").write_text("domain: another\n")
    result = invoke("check", panel, "--repair")
    assert result.exit_code == 1
    assert "task.yaml is changed" in result.stderr


def test_check_of_an_index_that_another_process_owns(invoke: Invoke, panel: Path) -> None:
    from consilience import Diagnoser

    with Diagnoser.open(panel) as diagnoser:
        assert invoke("check", panel).exit_code == 0  # so small a memory needs no index to be searched
        assert diagnoser.memory.index_name == "chroma"  # asking opens it
        result = invoke("check", panel)
    assert result.exit_code == 1
    assert "in use by" in result.stderr


def test_graph(invoke: Invoke) -> None:
    drawn = invoke("graph").stdout
    assert "graph TD;" in drawn
    for edge in ("retrieve -.-> predict", "predict --> weigh", "weigh -.-> revise", "revise --> weigh"):
        assert edge in drawn


@pytest.mark.parametrize("command", ["show", "check"])
def test_commands_that_look_need_a_panel(invoke: Invoke, command: str, tmp_path: Path) -> None:
    result = invoke(command, tmp_path / "nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no panel" in result.stderr
