"""The bot over HTTP, where Slack signs what it sends."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest

from tests.support.fake_slack import BOT, FakeSlack
from tests.support.slack_bot import Start, png


def test_signed_events_and_buttons_are_answered(slack: FakeSlack, start: Start) -> None:
    with start(http=True) as bot:
        event = slack.say(f"<@{BOT}>", slack.upload(png("circle"), "round.png"))
        assert slack.deliver(event) == 200
        assert slack.deliver(event) == 200
        [answer] = slack.answers(event["ts"])
        assert answer.text.startswith("circle")
        assert slack.press(answer, "right") == 200
        slack.answers(event["ts"], 2)
        assert len(list(bot.chat.history.find())) == 1
        assert "apps.connections.open" not in slack.calls


def test_nothing_is_done_for_a_wrong_signature(slack: FakeSlack, start: Start) -> None:
    with start(http=True):
        event = slack.say(f"<@{BOT}>", slack.upload(png("circle"), "round.png"))
        assert slack.deliver(event, secret="another secret") == 401
        stale = urllib.request.Request(  # noqa: S310
            str(slack.events_url),
            b"{}",
            {
                "Content-Type": "application/json",
                "X-Slack-Request-Timestamp": str(int(time.time()) - 600),
                "X-Slack-Signature": "v0=00",
            },
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(stale, timeout=30)  # noqa: S310
        good = slack.say("help", channel="D1")
        assert slack.deliver(good) == 200
        slack.answers(good["ts"])
        assert len(slack.messages) == 1


def test_a_time_that_is_no_number_is_refused(slack: FakeSlack, start: Start) -> None:
    with start(http=True):
        for when in ("soon", "", "nan", "1e9", "-1", "9" * 400, "\u0661\u0662".encode().decode("latin-1")):
            headers = {"Content-Type": "application/json", "X-Slack-Signature": "v0=00"}
            headers["X-Slack-Request-Timestamp"] = when
            request = urllib.request.Request(str(slack.events_url), b"{}", headers)  # noqa: S310
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(request, timeout=30)  # noqa: S310


def test_what_happens_in_another_team_is_refused(slack: FakeSlack, start: Start) -> None:
    with start(http=True) as bot:
        own = slack.say(f"<@{BOT}>", slack.upload(png("circle"), "round.png"))
        assert slack.deliver(own, team="T-ANOTHER") == 403
        assert slack.deliver(own) == 200
        [answer] = slack.answers(own["ts"])
        assert slack.press(answer, "right", team="T-ANOTHER") == 403
        assert len(list(bot.chat.history.find())) == 1
