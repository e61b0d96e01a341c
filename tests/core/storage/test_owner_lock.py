"""One process writes at a time, and who comes second learns who is first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consilience.core.storage.owner_lock import LockHeldError, hold_lock


def test_the_holder_is_named_until_it_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    lock = hold_lock(path)
    with pytest.raises(LockHeldError) as caught:
        hold_lock(path)
    assert caught.value.holder == "this process"
    lock.release()
    hold_lock(path).release()


def test_another_process_is_named_by_its_number_and_lets_go_as_it_ends(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from consilience.core.storage.owner_lock import hold_lock\n"
        "lock = hold_lock(Path(sys.argv[1])); print('held', flush=True); input()"
    )
    path = tmp_path / "writer.lock"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LockHeldError) as caught:
            hold_lock(path)
        assert caught.value.holder == f"the process {child.pid}"
        child.kill()
    hold_lock(path).release()


def test_a_lock_file_without_a_number_is_held_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    lock = hold_lock(path)
    path.write_text("?", encoding="ascii")
    with pytest.raises(LockHeldError, match="another process"):
        hold_lock(path)
    lock.release()
