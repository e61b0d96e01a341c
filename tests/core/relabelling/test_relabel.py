"""Images move into the folders of other labels: all or none, nothing replaced, resumed or undone after a kill."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from consilience.core.errors import DatasetError
from consilience.core.relabelling.moves import Move
from consilience.core.relabelling.relabel import JOURNAL, relabel, resume_relabel, undo_relabel
from consilience.core.storage.owner_lock import hold_lock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of each of two labels, and an empty label; each file holds its own first name."""
    root = tmp_path / "leaves"
    for name in ("rust/1.jpg", "rust/2.jpg", "rust/tree/3.jpg", "scab/4.jpg", "scab/5.jpg", "scab/6.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "healthy").mkdir()
    return root


def table(folder: Path, *rows: tuple[str, str]) -> Path:
    path = folder.parent / "moves.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "new_label"), *((name, "", label) for name, label in rows)])
    return path


def files(folder: Path) -> dict[str, str]:
    """Every file by its name below the folder, hidden ones left out, with what it holds; empty folders end with /."""
    held = {}
    for path in sorted(folder.rglob("[!.]*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            held[name] = path.read_text()
        elif not any(path.iterdir()):
            held[f"{name}/"] = ""
    return held


THREE = (("rust/1.jpg", "scab"), ("rust/tree/3.jpg", "Healthy"), ("scab/4.jpg", "rust"))
MOVED = {
    "scab/1.jpg": "rust/1.jpg",
    "rust/2.jpg": "rust/2.jpg",
    "rust/tree/": "",
    "healthy/tree/3.jpg": "rust/tree/3.jpg",
    "rust/4.jpg": "scab/4.jpg",
    "scab/5.jpg": "scab/5.jpg",
    "scab/6.jpg": "scab/6.jpg",
}


def test_files_move_only_when_told_and_come_back(folder: Path) -> None:
    before, moves = files(folder), table(folder, *THREE, ("scab/5.jpg", ""), ("scab/6.jpg", "scab"))
    expected = (
        Move("rust/1.jpg", "scab/1.jpg"),
        Move("rust/tree/3.jpg", "healthy/tree/3.jpg"),
        Move("scab/4.jpg", "rust/4.jpg"),
    )
    assert relabel(moves, folder) == expected
    assert files(folder) == before
    assert not (folder / JOURNAL).exists()
    assert relabel(moves, folder, apply=True) == expected
    assert files(folder) == MOVED
    assert len(undo_relabel(folder)) == 3
    assert files(folder) == before
    assert [path.name for path in folder.iterdir() if path.name[0] == "."] == []
    with pytest.raises(DatasetError, match="nothing was moved"):
        undo_relabel(folder)


def test_runs_are_undone_one_by_one_the_last_first(folder: Path) -> None:
    before = files(folder)
    relabel(table(folder, ("rust/1.jpg", "scab")), folder, apply=True)
    between = files(folder)
    relabel(table(folder, (str(folder / "scab/1.jpg"), "healthy")), folder, apply=True)
    undo_relabel(folder)
    assert files(folder) == between
    undo_relabel(folder)
    assert files(folder) == before


def test_labels_below_parts_stay_in_their_part(folder: Path) -> None:
    whole = folder.parent / "whole"
    (whole / "val" / "rust").mkdir(parents=True)
    folder.rename(whole / "train")
    (whole / "val" / "rust" / "7.jpg").touch()
    (move,) = relabel(table(folder, ("train/scab/4.jpg", "rust")), whole)
    assert move == Move("train/scab/4.jpg", "train/rust/4.jpg")
    with pytest.raises(DatasetError, match="no folder for the label 'scab'"):
        relabel(table(folder, ("val/rust/7.jpg", "scab")), whole)


KILLED = """
import os, signal, sys
from consilience.core.relabelling import relabel
bring, replace, calls = relabel._bring, os.replace, []
def stopped(source, target):
    if not str(target).endswith(".json"):
        calls.append(target)
    if len(calls) == int(sys.argv[4]) and sys.argv[5] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if len(calls) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = stopped
if sys.argv[1] == "apply":
    relabel.relabel(sys.argv[2], sys.argv[3], apply=True)
else:
    relabel.undo_relabel(sys.argv[3])
"""


def killed(what: str, moves: Path, folder: Path, at: int, when: str) -> None:
    """Run it in a process that is killed at its so-manieth file, before or after that takes its new name."""
    words: Sequence[str] = (sys.executable, "-c", KILLED, what, str(moves), str(folder), str(at), when)
    assert subprocess.run(words, check=False).returncode == -9


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 3])
def test_a_run_that_was_killed_is_ended_or_undone(folder: Path, at: int, when: str) -> None:
    before, moves = files(folder), table(folder, *THREE)
    killed("apply", moves, folder, at, when)
    with pytest.raises(DatasetError, match="--resume"):
        relabel(table(folder, ("scab/5.jpg", "rust")), folder, apply=True)
    undo_relabel(folder)
    assert files(folder) == before
    killed("apply", table(folder, *THREE), folder, at, when)
    assert len(resume_relabel(folder)) == 3
    assert files(folder) == MOVED
    assert resume_relabel(folder) == ()
    killed("undo", moves, folder, at, when)
    undo_relabel(folder)
    assert files(folder) == before


def test_two_files_of_one_name_are_kept_and_nothing_moves(folder: Path) -> None:
    (folder / "scab" / "1.jpg").write_text("another one")
    before = files(folder)
    with pytest.raises(DatasetError, match=r"row 2: 'scab/1.jpg' is there already"):
        relabel(table(folder, ("scab/4.jpg", "rust"), ("rust/1.jpg", "scab")), folder, apply=True)
    (folder / "scab" / "1.jpg").unlink()
    (folder / "healthy" / "1.jpg").write_text("another one")
    with pytest.raises(DatasetError, match=r"row 2: 'scab/1.jpg' is named in row 1 already"):
        relabel(table(folder, ("rust/1.jpg", "scab"), ("healthy/1.jpg", "scab")), folder, apply=True)
    assert {*files(folder)} == {*before} - {"scab/1.jpg", "healthy/"} | {"healthy/1.jpg"}


def test_a_file_that_came_meanwhile_is_not_replaced_by_undoing(folder: Path) -> None:
    relabel(table(folder, ("rust/1.jpg", "scab")), folder, apply=True)
    (folder / "rust" / "1.jpg").write_text("new")
    with pytest.raises(DatasetError, match="is not replaced"):
        undo_relabel(folder)
    assert (folder / "rust/1.jpg").read_text() == "new"
    assert (folder / "scab/1.jpg").read_text() == "rust/1.jpg"
    (folder / "rust" / "1.jpg").unlink()
    assert undo_relabel(folder) == (Move("scab/1.jpg", "rust/1.jpg"),)


@pytest.mark.parametrize(
    ("path", "label", "problem"),
    [
        ("../secret.jpg", "scab", "lies outside"),
        ("rust/../../secret.jpg", "scab", "lies outside"),
        ("/etc/passwd", "scab", "lies outside"),
        ("rust/1.jpg", "../scab", "no folder for the label"),
        ("rust/1.jpg", "/scab", "no folder for the label"),
        ("rust/1.jpg", ".", "no folder for the label"),
        ("rust/1.jpg", "canker", r"no folder for the label 'canker' \(it has healthy, rust, scab\)"),
        ("rust/1.jpg\0", "scab", "null character"),
        ("rust", "scab", "lies in no label's folder"),
        (".", "scab", "lies outside"),
        ("rust/tree", "scab", "is no file"),
        ("rust/9.jpg", "scab", "is not there"),
        ("rust/" + "9" * 300, "scab", "is not there"),
        ("linked/secret.jpg", "scab", "is a link"),
        ("rust/link.jpg", "scab", "is no file"),
        ("rust/1.jpg", "linked", "no folder for the label"),
    ],
)
def test_rows_that_lead_elsewhere_are_refused_by_number(folder: Path, path: str, label: str, problem: str) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    for name in (folder.parent / "secret.jpg", outside / "secret.jpg"):
        name.write_text("secret")
    (folder / "linked").symlink_to(outside)
    (folder / "rust" / "link.jpg").symlink_to(outside / "secret.jpg")
    before = files(folder)
    with pytest.raises(DatasetError, match=rf"row 2: .*{problem}.*nothing was moved"):
        relabel(table(folder, ("scab/4.jpg", "rust"), (path, label)), folder, apply=True)
    assert files(folder) == before
    assert not (folder / JOURNAL).exists()


def test_a_subfolder_of_the_target_that_is_a_link_is_not_written_through(folder: Path) -> None:
    (folder.parent / "outside").mkdir()
    (folder / "scab" / "tree").symlink_to(folder.parent / "outside")
    with pytest.raises(DatasetError, match="a link or a file"):
        relabel(table(folder, ("rust/tree/3.jpg", "scab")), folder, apply=True)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "rust/../../secret.jpg", 7])
def test_a_journal_of_somebody_else_leads_nowhere(folder: Path, name: object) -> None:
    (folder.parent / "secret.jpg").write_text("secret")
    run = {"moves": [["rust/1.jpg", name]], "made": [], "ended": True}
    (folder / JOURNAL).write_text(json.dumps([run]))
    with pytest.raises(DatasetError, match="the journal"):
        undo_relabel(folder)
    assert (folder.parent / "secret.jpg").read_text() == "secret"


def test_one_process_moves_at_a_time(folder: Path) -> None:
    lock = hold_lock(folder / ".consilience-relabel.lock")
    with pytest.raises(DatasetError, match="is moving files"):
        relabel(table(folder, ("rust/1.jpg", "scab")), folder, apply=True)
    lock.release()


def test_what_is_no_table_or_no_folder_is_said(folder: Path) -> None:
    bad = folder.parent / "bad.csv"
    bad.write_text("path,label\nrust/1.jpg,scab\n")
    with pytest.raises(DatasetError, match="no column 'new_label'"):
        relabel(bad, folder)
    with pytest.raises(DatasetError, match="is no folder"):
        relabel(table(folder), folder / "none")
    with pytest.raises(DatasetError, match="is no folder"):
        undo_relabel(folder / "none")
