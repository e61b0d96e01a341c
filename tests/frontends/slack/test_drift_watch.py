"""A channel is told of an agent that has become worse."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import consilience
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from tests.support.fake_slack import FakeSlack
from tests.support.shapes import draw
from tests.support.slack_bot import Start


def test_a_channel_is_told_once_that_an_agent_has_become_worse(slack: FakeSlack, start: Start, panel: Path) -> None:
    learning = consilience.load_settings(learning__review="at-once").learning
    with consilience.Diagnoser.open(panel) as diagnoser, History.open(panel) as history:
        for diagnosis in diagnoser.diagnose_many(draw("circle", 5000 + number) for number in range(12)):
            assert isinstance(diagnosis, consilience.Diagnosis)
            Feedbacks(history, learning).give(history.keep(diagnosis).id, "somebody", "square")
        agents = list(diagnoser.panel.agents)

    def announced(count: int) -> list[str]:
        slack.until(lambda: len(slack.messages) >= count, f"{count} messages")
        assert {message.channel for message in slack.messages.values()} == {"CDRIFT"}
        return [message.text for message in slack.messages.values()]

    def until_noted() -> None:
        """The inbox is read again and again: what Slack has may not be noted yet."""
        end, noted = time.monotonic() + 60, 0
        while noted < len(agents):
            assert time.monotonic() < end, "what was told is not noted"
            with closing(sqlite3.connect(panel / "slack.sqlite")) as inbox:
                ((noted,),) = inbox.execute("SELECT count(*) FROM announced")

    with start(drift_to="CDRIFT"):
        first = announced(len(agents))
        until_noted()
    assert len(first) == len(agents)
    for name in agents:
        assert sum(f"{name} has become worse: it was right on 0 % of the 12 images" in text for text in first) == 1
    with closing(sqlite3.connect(panel / "slack.sqlite")) as inbox, inbox:
        inbox.execute("DELETE FROM announced WHERE name = ?", (agents[0],))  # as if it had become better meanwhile
    with start(drift_to="CDRIFT"):
        again = announced(len(agents) + 1)
        until_noted()
    assert len(again) == len(agents) + 1
    assert f"{agents[0]} has become worse" in again[-1]
