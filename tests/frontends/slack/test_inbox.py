"""The inbox: nothing lost, nothing twice, whatever comes in whatever order."""

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
from consilience.frontends.slack.request import Kind, SlackRequest

keys = st.lists(st.sampled_from([f"C1:{second}.0:{number}" for second in range(3) for number in range(2)]), max_size=12)


def request(key: str, kind: Kind = "look", thread: str = "T") -> SlackRequest:
    channel, message, _ = key.split(":")
    return SlackRequest(key, kind, "U1", channel, message, thread)


@given(keys, st.sets(st.sampled_from(range(12))))
def test_each_request_is_new_once_and_waits_until_it_is_answered(
    tmp_path_factory: pytest.TempPathFactory, delivered: list[str], answered: set[int]
) -> None:
    path = tmp_path_factory.mktemp("inbox") / "slack.sqlite"
    done: set[str] = set()
    with Inbox(path) as inbox:
        new = [new_request.key for key in delivered for new_request in inbox.receive([request(key)])]
        for place in answered & set(range(len(delivered))):
            inbox.record_answer(delivered[place])
            done.add(delivered[place])
    assert new == list(dict.fromkeys(delivered))
    with Inbox(path) as inbox:
        assert [progress.request.key for progress in inbox.unanswered()] == [key for key in new if key not in done]
        assert inbox.receive([request(key) for key in delivered]) == []


def test_a_message_is_done_with_its_last_request(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as inbox:
        inbox.receive([request("C1:1.0:0"), request("C1:1.0:1"), request("C1:2.0:0")])
        assert not inbox.record_answer("C1:1.0:0")
        assert inbox.record_answer("C1:1.0:1")


def test_a_mark_is_due_until_it_is_given(tmp_path: Path) -> None:
    first, second = request("C1:1.0:0"), request("C1:1.0:1")
    with Inbox(tmp_path / "j") as inbox:
        inbox.receive([first, second])
        inbox.record_answer(first.key, "warning")
        assert inbox.reactions_due() == [(first, "warning", False)]
        inbox.record_answer(second.key, "white_check_mark")
        inbox.record_reaction(first.key)
    with Inbox(tmp_path / "j") as inbox:
        assert inbox.reactions_due() == [(second, "white_check_mark", True)]


def test_an_inbox_of_another_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as inbox:
        inbox.receive([request("C1:1.0:0"), request("C1:2.0:0")])
    with sqlite3.connect(tmp_path / "j") as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(InboxError, match="another version of consilience: name another file with --inbox"):
        Inbox(tmp_path / "j")


def test_what_was_looked_at_again_goes_back_to_its_image(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as inbox:
        inbox.receive([request("C1:1.0:0"), request("C1:2.0:0", "ask"), request("C1:3.0:0", "ask")])
        inbox.record_diagnosis("C1:1.0:0", "first")
        inbox.record_diagnosis("C1:2.0:0", "second", before="first")
        inbox.record_diagnosis("C1:3.0:0", "third", before="second")
        assert inbox.latest("C1", "T") == inbox.latest("C1", None) == "third"
        assert inbox.latest("C1", "another") == inbox.latest("C2", None) == ""
        assert inbox.origin("third") == request("C1:1.0:0")
        assert inbox.origin("unknown") is None


def test_what_is_written_outlives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from consilience.frontends.slack.inbox import Inbox\n"
        "from consilience.frontends.slack.request import SlackRequest\n"
        "inbox = Inbox(pathlib.Path(sys.argv[1]))\n"
        "inbox.receive([SlackRequest('C1:1.0:0', 'look', 'U1', 'C1', '1.0', '1.0')])\n"
        "inbox.record_message('C1:1.0:0', '2.0')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "j")], check=False)
    with Inbox(tmp_path / "j") as inbox:
        [waiting] = inbox.unanswered()
        assert (waiting.request.message, waiting.bot_message, waiting.diagnosis) == ("1.0", "2.0", "")


def test_the_old_and_answered_is_forgotten(tmp_path: Path) -> None:
    with Inbox(tmp_path / "j") as inbox:
        inbox.receive([request("C1:1.0:0"), request("C1:2.0:0")])
        inbox.record_answer("C1:1.0:0")
    with sqlite3.connect(tmp_path / "j") as file:
        file.execute("UPDATE requests SET received = 0")
    with Inbox(tmp_path / "j") as inbox:
        assert [progress.request.key for progress in inbox.unanswered()] == ["C1:2.0:0"]
        assert inbox.receive([request("C1:1.0:0")]) == [request("C1:1.0:0")]


def test_a_file_that_is_no_inbox_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_text(json.dumps({"no": "inbox"}) * 50)
    with pytest.raises(InboxError, match="cannot be used"):
        Inbox(tmp_path / "j")
