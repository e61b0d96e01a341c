"""Model servers from an environment of their own, which `make test-vllm` makes; SERVERS_PYTHON is its Python."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what ends a server behind the other tests of its file: their order is drawn by chance."""
    files = {path: place for place, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (files[item.path], item.get_closest_marker("ends_the_server") is not None))


@dataclass(frozen=True)
class Served:
    """`consilience serve-vlm` as it runs, and the agent's settings that it printed."""

    process: subprocess.Popen[str]
    printed: dict[str, Any]

    def settings(self, **changed: Any) -> dict[str, Any]:
        """Of an agent that sends pictures in the sizes on which the tiny model was taught."""
        return self.printed | {"image_side": 112, "neighbour_side": 56, "max_retries": 0} | changed


@pytest.fixture(scope="session")
def servers() -> Path:
    """The environment of the servers."""
    if not (python := os.environ.get("SERVERS_PYTHON")):
        pytest.skip("SERVERS_PYTHON names no Python of an environment with model servers: run `make test-vllm`")
    return Path(python).parents[1]


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def port() -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return int(free.getsockname()[1])

    return port


@pytest.fixture(scope="session")
def tiny_model(servers: Path) -> Path:
    """The tiny Qwen2.5-VL that was taught to look at leaves."""
    return servers / "tiny-qwen-vl"


@pytest.fixture(scope="module")
def vllm(
    servers: Path, tiny_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """vLLM with the tiny model, for the tests of one file; the last of them may kill it."""
    script, log = Path(sys.executable).with_name("consilience"), tmp_path_factory.mktemp("vllm") / "log"
    places = ["--executable", servers / "bin" / "vllm", "--port", free_port(), "--log", log, "--timeout", 600]
    own = ["--served-model-name", "tiny", "--dtype", "float32", "--kv-cache-memory-bytes", "128M"]
    with _running([script, "serve-vlm", tiny_model, *places, "--cpu", "--", *own]) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "confidence" in line:
                break
        else:
            pytest.fail(f"vLLM did not start: {process.stderr and process.stderr.read()}")
        (printed,) = yaml.safe_load("".join(lines))["models"]
        yield Served(process, printed)


@contextmanager
def _running(command: list[Any]) -> Iterator[subprocess.Popen[str]]:
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
