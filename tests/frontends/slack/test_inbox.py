"""The journal: nothing lost, nothing twice, whatever comes in whatever order."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.frontends.slack.inbox import Inbox, InboxError
from consilience.frontends.slack.request import SlackRequest

keys = st.lists(st.sampled_from([f"C1:{second}.0:{number}" for second in range(3) for number in range(2)]), max_size=12)


def request(key: str, kind: str = "look", thread: str = "T") -> SlackRequest:
    channel, message, _ = key.split(":")
    return SlackRequest(key, kind, "U1", channel, message, thread)  # type: ignore[arg-type]


@given(keys, st.sets(st.sampled_from(range(12))))
def test_each_request_is_new_once_and_waits_until_it_is_answered(
    tmp_path_factory: pytest.TempPathFactory, delivered: list[str], answered: set[int]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "slack.sqlite"
    done: set[str] = set()
    with Inbox(path) as journal:
        new = [one.key for key in delivered for one in journal.receive([request(key)])]
        for place in answered & set(range(len(delivered))):
            journal.answered(delivered[place])
            done.add(delivered[place])
    assert new == list(dict.fromkeys(delivered))
    with Inbox(path) as journal:
        assert [one.request.key for one in journal.waiting()] == [key for key in new if key not in done]
        assert journal.receive([request(key) for key in delivered]) == []


def test_a_message_is_done_with_its_last_request(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as journal:
        journal.receive([request("C1:1.0:0"), request("C1:1.0:1"), request("C1:2.0:0")])
        assert not journal.answered("C1:1.0:0")
        assert journal.answered("C1:1.0:1")


def test_a_mark_is_due_until_it_is_given(tmp_path: Path) -> None:
    first, second = request("C1:1.0:0"), request("C1:1.0:1")
    with Inbox(tmp_path / "j") as journal:
        journal.receive([first, second])
        journal.answered(first.key, "warning")
        assert journal.unmarked() == [(first, "warning", False)]
        journal.answered(second.key, "white_check_mark")
        journal.marked(first.key)
    with Inbox(tmp_path / "j") as journal:
        assert journal.unmarked() == [(second, "white_check_mark", True)]


def test_a_journal_of_the_time_before_marks_is_opened(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as journal:
        journal.receive([request("C1:1.0:0"), request("C1:2.0:0")])
        journal.answered("C1:1.0:0", "white_check_mark")
    with sqlite3.connect(tmp_path / "j") as file:
        file.execute("ALTER TABLE requests DROP COLUMN mark")
    file.close()
    with Inbox(tmp_path / "j") as journal:
        assert journal.unmarked() == []
        assert [one.request.key for one in journal.waiting()] == ["C1:2.0:0"]


def test_what_was_looked_at_again_goes_back_to_its_image(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as journal:
        journal.receive([request("C1:1.0:0"), request("C1:2.0:0", "ask"), request("C1:3.0:0", "ask")])
        journal.diagnosed("C1:1.0:0", "first")
        journal.diagnosed("C1:2.0:0", "second", before="first")
        journal.diagnosed("C1:3.0:0", "third", before="second")
        assert journal.latest("C1", "T") == journal.latest("C1", None) == "third"
        assert journal.latest("C1", "another") == journal.latest("C2", None) == ""
        assert journal.origin("third") == request("C1:1.0:0")
        assert journal.origin("unknown") is None


def test_what_is_written_outlives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from consilience.frontends.slack.inbox import Inbox\n"
        "from consilience.frontends.slack.request import SlackRequest\n"
        "journal = Inbox(pathlib.Path(sys.argv[1]))\n"
        "journal.receive([SlackRequest('C1:1.0:0', 'look', 'U1', 'C1', '1.0', '1.0')])\n"
        "journal.noted('C1:1.0:0', '2.0')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "j")], check=False)
    with Inbox(tmp_path / "j") as journal:
        [waiting] = journal.waiting()
        assert (waiting.request.message, waiting.note, waiting.diagnosis) == ("1.0", "2.0", "")


def test_the_old_and_answered_is_forgotten(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as journal:
        journal.receive([request("C1:1.0:0"), request("C1:2.0:0")])
        journal.answered("C1:1.0:0")
    with sqlite3.connect(tmp_path / "j") as file:
        file.execute("UPDATE requests SET received = 0")
    with Inbox(tmp_path / "j") as journal:
        assert [one.request.key for one in journal.waiting()] == ["C1:2.0:0"]
        assert journal.receive([request("C1:1.0:0")]) == [request("C1:1.0:0")]


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_text(json.dumps({"no": "journal"}) * 50)
    with pytest.raises(InboxError, match="cannot be used"):
        Inbox(tmp_path / "j")
