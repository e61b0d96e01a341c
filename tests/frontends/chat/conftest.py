"""A conversation with the panel of shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consilience.core.settings.settings import load_settings
from consilience.frontends.chat.chat import Chat
from consilience.frontends.chat.opening import open_chat


@pytest.fixture
def chat(panel: Path) -> Iterator[Chat]:
    with open_chat(panel, load_settings()) as opened:
        yield opened
