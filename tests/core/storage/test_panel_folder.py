"""A panel on disk: whole or not at all, and whatever is wrong with it is said."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from consilience.core.errors import PanelDamagedError, PanelError, PanelMissingError, PanelTooNewError
from consilience.core.storage.panel_folder import PanelFolder, open_panel_folder, read_panel_folder, write_panel_folder


def filler(text: str, **extra: object) -> Callable[[Path], dict[str, Any]]:
    def write(state: Path) -> dict[str, Any]:
        (state / "task.yaml").write_text(text)
        (state / "agents").mkdir()
        (state / "agents" / "probe.npz").write_bytes(text.encode() * 1000)
        return extra

    return write


def never(state: Path) -> dict[str, Any]:
    pytest.fail(f"{state} was to be filled")


@pytest.fixture
def panel(tmp_path: Path) -> Path:
    write_panel_folder(tmp_path / "panel", filler("old", encoder="efficientnet-lite0"))
    return tmp_path / "panel"


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def damage(panel: Path) -> str:
    with pytest.raises(PanelDamagedError) as caught:
        open_panel_folder(panel)
    assert str(panel) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def readable_by_all() -> Iterator[Path]:
    """A folder in which what nobody may read is what is forbidden alone; root may read anything, and is nobody here."""
    with TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        write_panel_folder(path / "panel", filler("x"))
        (path / "panel").chmod(0o755)
        yield path / "panel"
        os.seteuid(os.getuid())


@pytest.mark.parametrize("name", ["panel.json", "state-0001", "state-0001/agents", "state-0001/task.yaml"])
def test_what_may_not_be_read_is_no_damage(readable_by_all: Path, name: str) -> None:
    (readable_by_all / name).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(PanelError, match=f"may not be read .*{name}'.*: give this user permission") as caught:
        open_panel_folder(readable_by_all)
    os.seteuid(os.getuid())
    (readable_by_all / name).chmod(0o755)
    assert not isinstance(caught.value, PanelDamagedError)
    assert open_panel_folder(readable_by_all).generation == 1


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    written = write_panel_folder(tmp_path / "a" / "panel", filler("x", labels=("healthy", "锈病"), encoder={"d": 4}))
    panel = open_panel_folder(str(tmp_path / "a" / "panel"))
    assert panel == written
    assert (panel.generation, panel.state) == (1, tmp_path / "a" / "panel" / "state-0001")
    assert len(panel.id) == 32
    assert panel.manifest["files"] == {
        "agents/probe.npz": {"sha256": hashlib.sha256(b"x" * 1000).hexdigest(), "bytes": 1000},
        "task.yaml": {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1},
    }
    assert panel.manifest["format"] == 1
    assert panel.manifest["written_by"].startswith("consilience ")
    assert before <= datetime.fromisoformat(panel.manifest["written"]) <= datetime.now(UTC)
    assert panel.manifest["encoder"] == {"d": 4}
    text = (panel.path / "panel.json").read_text(encoding="utf-8")
    assert "锈病" in text  # for people, too
    assert json.loads(text) == panel.manifest
    assert {path.name for path in panel.path.iterdir()} == {"panel.json", "state-0001"}


def test_a_copy_is_the_same_panel(panel: Path, tmp_path: Path) -> None:
    shutil.copytree(panel, tmp_path / "copy")
    assert open_panel_folder(tmp_path / "copy").manifest == open_panel_folder(panel).manifest


def test_names_that_are_not_unicode_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"gr\xfcn")
    write_panel_folder(tmp_path / "panel", filler("x", source=name))
    assert open_panel_folder(tmp_path / "panel").manifest["source"] == name


def test_overwriting_keeps_the_id_and_removes_the_old_state(panel: Path) -> None:
    first = open_panel_folder(panel)
    (panel / "index").mkdir()
    second = write_panel_folder(panel, filler("new"), overwrite=True)
    assert (second.id, second.generation) == (first.id, 2)
    assert open_panel_folder(panel) == second
    assert (second.state / "task.yaml").read_text() == "new"
    assert {path.name for path in panel.iterdir()} == {"panel.json", "state-0002", "index"}


def test_files_can_be_linked_from_the_generation_before(panel: Path) -> None:
    old = open_panel_folder(panel).state

    def write(state: Path) -> dict[str, Any]:
        os.link(old / "task.yaml", state / "task.yaml")
        return {}

    new = write_panel_folder(panel, write, overwrite=True)
    assert not old.exists()
    assert (open_panel_folder(panel).state / "task.yaml").read_text() == "old"
    assert [*new.manifest["files"]] == ["task.yaml"]


@pytest.mark.parametrize("there", [(), ("writer.lock", "index.lock"), ("index/chroma.sqlite3", "panel.json.partial")])
def test_a_folder_with_nothing_of_anyone_in_it_can_become_a_panel(tmp_path: Path, there: tuple[str, ...]) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(PanelMissingError, match="make one with 'consilience fit'"):
        open_panel_folder(tmp_path)
    assert write_panel_folder(tmp_path, filler("x")) == open_panel_folder(tmp_path)


def test_nothing_else_is_written_over(tmp_path: Path, panel: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    before = everything(tmp_path)
    for path, words in (
        (tmp_path / "photos", "is no panel and holds '1.jpg'"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "panel", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
    ):
        for overwrite in (False, True):
            with pytest.raises(PanelError, match=words):
                write_panel_folder(path, never, overwrite=overwrite)
    with pytest.raises(PanelError, match=r"there is a panel at .* already"):
        write_panel_folder(panel, never)
    assert everything(tmp_path) == before


def test_a_missing_panel_is_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, problem in (
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "file", "a file"),
        (tmp_path, "a folder of another kind"),
    ):
        with pytest.raises(PanelMissingError, match=rf"there is no panel at '{path}' \({problem}\): make one with"):
            open_panel_folder(path)


def test_a_half_written_panel_is_said_to_be_half_written(panel: Path) -> None:
    text = (panel / "panel.json").read_text()
    (panel / "panel.json").unlink()
    assert "is half-written: it has no panel.json" in damage(panel)
    with pytest.raises(PanelError, match="already"):
        write_panel_folder(panel, never)
    (panel / "panel.json").write_text(text)
    (panel / "state-0001").rename(panel / "state-0007")
    assert "half-written: the folder state-0001 is missing" in damage(panel)
    assert write_panel_folder(panel, filler("new"), overwrite=True).generation == 8
    assert {path.name for path in panel.iterdir()} == {"panel.json", "state-0008"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "panel.json cannot be read"),
        ('{"format": 1, "id"', "panel.json cannot be read"),
        ("[" * 100_000, "panel.json cannot be read"),
        ("[1]", "does not say its format"),
        ('{"format": true}', "does not say its format"),
        ('{"format": 1, "id": "a"}', "panel.json lacks generation, written, written_by, files"),
        ('{"format": 1, "id": 5, "generation": "1", "written": "", "written_by": "", "files": {}}', "id, generation"),
    ],
)
def test_a_damaged_manifest_is_said_to_be_damaged(panel: Path, text: str, words: str) -> None:
    (panel / "panel.json").write_text(text)
    assert words in damage(panel)
    write_panel_folder(panel, filler("new"), overwrite=True)
    assert (open_panel_folder(panel).state / "task.yaml").read_text() == "new"


def test_a_newer_format_is_said_to_be_newer_whatever_else_it_holds(panel: Path) -> None:
    (panel / "panel.json").write_text('{"format": 7}')
    with pytest.raises(PanelTooNewError, match=r"has format 7, and this version .* up to 1: upgrade"):
        open_panel_folder(panel)


def test_an_older_format_is_refused_with_the_command_that_fits_it_again(panel: Path) -> None:
    (panel / "panel.json").write_text('{"format": 0}')
    with pytest.raises(PanelDamagedError) as caught:
        open_panel_folder(panel)
    assert str(caught.value) == (
        f"the panel '{panel}' has format 0, which is no longer read: "
        f"fit it again with 'consilience fit IMAGES --panel {panel} --overwrite'"
    )


def test_each_file_that_is_not_as_written_is_named(panel: Path) -> None:
    task, probe = panel / "state-0001" / "task.yaml", panel / "state-0001" / "agents" / "probe.npz"
    probe.write_bytes(b"X" + probe.read_bytes()[1:])
    assert "in state-0001, agents/probe.npz is changed." in damage(panel)
    probe.write_bytes(probe.read_bytes()[:-1])
    assert "agents/probe.npz is changed." in damage(panel)
    task.unlink()
    (panel / "state-0001" / "agents" / "more.npz").write_bytes(b"")
    assert "task.yaml is missing, agents/probe.npz is changed, agents/more.npz is extra." in damage(panel)


def test_a_manifest_cannot_name_files_elsewhere(panel: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    manifest = json.loads((panel / "panel.json").read_text())
    manifest["files"]["../../secret"] = {"sha256": hashlib.sha256().hexdigest(), "bytes": 0}
    (panel / "panel.json").write_text(json.dumps(manifest))
    assert "../../secret is missing" in damage(panel)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, PanelError("full"), ZeroDivisionError])
def test_what_stops_the_writer_leaves_the_old_panel(
    panel: Path, tmp_path: Path, failure: BaseException | type[BaseException]
) -> None:
    def write(state: Path) -> dict[str, Any]:
        filler("new")(state)
        raise failure

    before = everything(tmp_path)
    kind = failure if isinstance(failure, type) else type(failure)
    with pytest.raises(kind):
        write_panel_folder(panel, write, overwrite=True)
    with pytest.raises(kind):
        write_panel_folder(tmp_path / "new", write)
    assert everything(tmp_path) == before


def test_an_interrupt_just_after_the_commit_leaves_the_new_panel(panel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_panel_folder(panel, filler("new"), overwrite=True)
    assert (open_panel_folder(panel).state / "task.yaml").read_text() == "new"
    write_panel_folder(panel, filler("newer"), overwrite=True)
    assert {path.name for path in panel.iterdir()} == {"panel.json", "state-0003"}


@pytest.mark.parametrize("extra", [{"id": "mine"}, {"score": float("nan")}, {"task": object()}])
def test_entries_that_a_manifest_cannot_hold_change_nothing(panel: Path, extra: dict[str, Any]) -> None:
    before = everything(panel)
    with pytest.raises((ValueError, TypeError)):
        write_panel_folder(panel, filler("new", **extra), overwrite=True)
    assert everything(panel) == before


def test_a_full_disk_is_said_to_be_full(panel: Path) -> None:
    def write(state: Path) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(state / "vectors.npy"))

    before = everything(panel)
    with pytest.raises(PanelError, match=r"cannot be written \(.*No space left.*vectors.npy'\): make room on the disk"):
        write_panel_folder(panel, write, overwrite=True)
    assert everything(panel) == before


LIMITED = """
import resource, signal, sys
from pathlib import Path
from consilience.core.errors import PanelError
from consilience.core.storage.panel_folder import write_panel_folder

def write(state):
    (state / "vectors.npy").write_bytes(bytes(int(sys.argv[2])))
    return {"note": "x" * int(sys.argv[3])}

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_panel_folder(Path(sys.argv[1]), write, overwrite=True)
except PanelError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on file sizes is POSIX's")
@pytest.mark.parametrize(("state_bytes", "manifest_bytes"), [(20_000, 0), (0, 20_000)])
def test_a_disk_that_takes_no_more_leaves_the_old_panel(panel: Path, state_bytes: int, manifest_bytes: int) -> None:
    before = everything(panel)
    command = [sys.executable, "-c", LIMITED, str(panel), str(state_bytes), str(manifest_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"the panel '{panel}' cannot be written" in done.stdout
    assert "File too large" in done.stdout
    assert everything(panel) == before


STOPPED = """
import sys
from pathlib import Path
from consilience.core.storage.panel_folder import write_panel_folder

def write(state):
    (state / "task.yaml").write_text("new")
    print("half", flush=True)
    sys.stdin.read()

write_panel_folder(Path(sys.argv[1]), write, overwrite=True)
"""


def kill_while_writing(panel: Path) -> None:
    command = [sys.executable, "-c", STOPPED, str(panel)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.kill()


def test_a_killed_writer_leaves_the_old_panel_and_the_next_one_cleans_up(panel: Path) -> None:
    before = open_panel_folder(panel)
    kill_while_writing(panel)
    assert (panel / "state-0002" / "task.yaml").exists()
    assert open_panel_folder(panel) == before
    after = write_panel_folder(panel, filler("newer"), overwrite=True)
    assert (after.generation, after.id) == (3, before.id)
    assert {path.name for path in panel.iterdir()} == {"panel.json", "state-0003"}


def test_a_writer_killed_at_its_first_write_leaves_a_half_written_panel(tmp_path: Path) -> None:
    kill_while_writing(tmp_path / "panel")
    assert "half-written" in damage(tmp_path / "panel")
    write_panel_folder(tmp_path / "panel", filler("x"), overwrite=True)
    assert open_panel_folder(tmp_path / "panel").generation == 2


def test_readers_always_see_one_whole_generation_while_a_writer_goes_on(panel: Path) -> None:
    def texts(folder: PanelFolder) -> tuple[int, set[str]]:
        task = (folder.state / "task.yaml").read_text()
        probe = (folder.state / "agents" / "probe.npz").read_bytes()[: len(task)].decode()
        return folder.generation, {task, probe}

    seen: list[tuple[int, set[str]]] = []
    failures: list[Exception] = []
    done = threading.Event()

    def keep_reading() -> None:
        try:
            while not done.is_set():
                open_panel_folder(panel)
                seen.append(read_panel_folder(panel, texts))
        except Exception as failure:
            failures.append(failure)

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(2, 32):
        write_panel_folder(panel, filler(f"generation {generation}"), overwrite=True)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert seen
    assert all(words == {"old" if number == 1 else f"generation {number}"} for number, words in seen)


def test_reading_starts_again_where_a_newer_generation_came_between(panel: Path) -> None:
    tried: list[int] = []

    def read(folder: PanelFolder) -> str:
        tried.append(folder.generation)
        if folder.generation < 3:
            write_panel_folder(panel, filler("new"), overwrite=True)
        return (folder.state / "task.yaml").read_text()

    assert read_panel_folder(panel, read) == "new"
    assert tried == [1, 2, 3]


def test_what_fails_in_the_newest_generation_is_raised(panel: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_panel_folder(panel, lambda folder: (folder.state / "nothing").read_text())
