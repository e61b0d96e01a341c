"""For all tests."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

# How long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# What is confirmed in a test is forgotten; the processes of a run know of each other's panels.
_CONFIG = tempfile.TemporaryDirectory(prefix="consilience-config-")
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["CONSILIENCE_CONFIG"] = _CONFIG.name

# The processes of pytest-xdist are told the width of the terminal; what is tested here has none.
os.environ.pop("COLUMNS", None)

# A shell that starts the tests in the background has Ctrl-C ignored, by them and by the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes share the tests: more than cores, since many tests wait for programs they started."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Leave what the imports brought out of garbage collection: it stays until the end."""
    gc.freeze()


@pytest.fixture
def server() -> Iterator[object]:
    """An OpenAI-compatible server whose replies a test scripts."""
    from consilience.agents.vlm.endpoint.accepted_options import FOUND_OUT
    from tests.support.scripted_server import ScriptedServer

    with ScriptedServer() as running:
        yield running
    FOUND_OUT.clear()  # a later server may get the same port
