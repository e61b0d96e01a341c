"""A Slack of our own, and the bot in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_slack import FakeSlack
from tests.support.slack_bot import Running, Start, running


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        yield server


@pytest.fixture
def start(slack: FakeSlack, panel: Path) -> Start:
    """Start the bot; what is given is for `running`."""
    return lambda **options: running(slack, panel, **options)


@pytest.fixture
def bot(start: Start) -> Iterator[Running]:
    """The bot in Socket Mode, which refers to the channel CREF."""
    with start(refer_to="CREF") as started:
        yield started
