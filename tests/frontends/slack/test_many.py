"""Many people at once, and a restart in the middle: every image is answered once, and none is lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fake_slack import APP_TOKEN, BOT, BOT_TOKEN, FakeSlack
from tests.support.shapes import LABELS
from tests.support.slack_bot import png

IMAGES, PEOPLE = 50, 10


@contextmanager
def command(slack: FakeSlack, panel: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The bot as a user starts it."""
    script = Path(sys.executable).with_name("consilience")
    options = ["--panel", str(panel), "--api-url", slack.url, "--set", "images.allow_private_urls=true"]
    tokens = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN}
    process = subprocess.Popen([sys.executable, script, "slack", *options], env=os.environ | tokens)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(60) is not None


@pytest.mark.slow
def test_fifty_images_of_ten_people_are_answered_once_over_a_kill(slack: FakeSlack, panel: Path) -> None:
    events = [
        slack.say(f"<@{BOT}>", slack.upload(png(LABELS[n % 3], 2000 + n), f"{n}.png"), user=f"U{n % PEOPLE}")
        for n in range(IMAGES)
    ]

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = usage.ru_utime + usage.ru_stime

    def answered() -> int:
        return sum(message.is_answer for message in slack.messages.values())

    with ThreadPoolExecutor(PEOPLE) as people:
        with command(slack, panel) as bot:
            begun = time.monotonic()
            delivered = [people.submit(slack.deliver, event) for event in events]
            slack.until(lambda: answered() >= IMAGES // 4, "a quarter of the answers")
            bot.send_signal(signal.SIGKILL)
            bot.wait()
        with command(slack, panel):
            assert [delivery.result() for delivery in delivered] == [200] * IMAGES
            answers = {event["ts"]: slack.answers(event["ts"]) for event in events}
            print(f"{IMAGES} images over a kill: {time.monotonic() - begun:.1f} s")
            for number, event in enumerate(events):
                [answer] = answers[event["ts"]]
                assert f"{LABELS[number % 3]}, " in answer.text  # settled or referred
                slack.reacted(event, "white_check_mark")
        took = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"processor time of both bots: {took.ru_utime + took.ru_stime - before:.1f} s")
        assert answered() == len(slack.messages) == IMAGES  # no "Looking at..." is left behind
        assert len(slack.uploads) >= IMAGES
