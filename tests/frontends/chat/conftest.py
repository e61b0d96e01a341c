"""A conversation with the panel of shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consilience.frontends.chat.chat import Chat
from consilience.frontends.chat.opening import open_chat
from consilience.settings import load_settings


@pytest.fixture
def chat(panel: Path) -> Iterator[Chat]:
    with open_chat(panel, load_settings()) as opened:
        yield opened
