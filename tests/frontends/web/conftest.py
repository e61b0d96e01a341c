"""A server that most tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.web_server import serving


@pytest.fixture(scope="session")
def served_panel(fitted_shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(fitted_shapes, tmp_path_factory.mktemp("served") / "panel"))


@pytest.fixture(scope="session")
def address(served_panel: Path) -> Iterator[str]:
    with serving(served_panel, "--set", "web.images_a_minute=10000", "--set", "web.max_bytes=1000000") as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """A program that asks."""
    with httpx.Client(base_url=address, timeout=120, trust_env=False) as program:
        yield program


@pytest.fixture
def browser(client: httpx.Client) -> httpx.Client:
    """A program that has been given a browser's cookie."""
    client.get("/").raise_for_status()
    return client
