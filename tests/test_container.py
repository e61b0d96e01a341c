"""What the Dockerfile and compose.yaml run. No container engine is needed, and none is used: the image is not built."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml

import consilience
from consilience.frontends.cli.main import main
from tests.e2e.test_base_install import FILES, PARTS
from tests.support.shapes import draw_all
from tests.support.web_server import diagnosed, started

PROJECT = Path(__file__).parents[1]
TOKEN = "sixteen letters and more"  # noqa: S105  of the test alone


def instructions() -> list[tuple[str, str]]:
    """Those of the last stage of the Dockerfile: the word and its argument."""
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [(word, argument) for word, argument in lines]
    last = max(number for number, (word, _) in enumerate(pairs) if word == "FROM")
    return pairs[last:]


def argument_of(instruction: str) -> str:
    (argument,) = [argument for word, argument in instructions() if word == instruction]
    return argument


def run_command() -> list[str]:
    command: list[str] = json.loads(argument_of("CMD"))
    return command


def health_command() -> list[str]:
    command: list[str] = json.loads(argument_of("HEALTHCHECK").partition("CMD")[2])
    return command


def variables() -> dict[str, str]:
    return dict(item.split("=", 1) for item in shlex.split(argument_of("ENV")))


def service() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]["web"]
    return compose


def parsed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The command of the image as click reads it, with the image's variables."""
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    program, name, *arguments = run_command()
    assert program == "consilience"
    command = main.commands[name]
    assert isinstance(command, click.Command)
    return command.make_context(name, arguments).params


def test_the_image_runs_a_real_command_for_everybody_who_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parsed(monkeypatch)
    assert options["host"] == "0.0.0.0"  # noqa: S104  inside the container
    assert options["panel"] == Path("/panel")
    assert options["is_open"] is False


def test_the_port_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    port = parsed(monkeypatch)["port"]
    assert argument_of("EXPOSE") == str(port)
    assert f":{port}/health" in health_command()[-1]
    assert [address.rsplit(":", 1)[1] for address in service()["ports"]] == [str(port)]


def test_only_this_machine_reaches_the_container() -> None:
    assert all(address.startswith("127.0.0.1:") for address in service()["ports"])


def test_it_does_not_run_as_root() -> None:
    assert argument_of("USER").split(":")[0] not in ("root", "0")
    owner = re.fullmatch(r"\$\{PANEL_OWNER:-(\d+):\d+\}", service()["user"])
    assert owner is not None
    assert owner[1] != "0"


def test_the_panel_is_mounted_where_the_command_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    (volume,) = service()["volumes"]
    assert volume.rsplit(":", 1)[1] == str(parsed(monkeypatch)["panel"])


def test_secrets_come_from_the_environment() -> None:
    environment = service()["environment"]
    assert environment["CONSILIENCE_WEB_TOKEN"].startswith(
        "${CONSILIENCE_WEB_TOKEN:?"
    )  # compose refuses to start without
    assert environment["OPENAI_API_KEY"] is None  # passed on
    assert not any("KEY" in name or "TOKEN" in name for name in variables())


def test_what_the_image_is_built_from_is_what_the_wheel_needs() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(FILES + PARTS)
    assert "*" in lines


@contextmanager
def container(panel: Path, home: Path) -> Iterator[str]:
    """The command of the image on a loopback address and a free port: its address."""
    own = {"CONSILIENCE_PANEL": str(panel), "HOME": str(home), "CONSILIENCE_WEB_TOKEN": TOKEN}
    others = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIENCE_")}
    command = [*run_command(), "--host", "127.0.0.1", "--port", "0"]
    with started(command, others | variables() | own) as address:  # ended by SIGTERM, as `docker stop` does
        yield address


@pytest.mark.slow
def test_what_the_image_runs_serves_the_panel_and_says_that_it_is_well(tmp_path: Path) -> None:
    for folder in ("shapes", "home"):
        (tmp_path / folder).mkdir()
    consilience.fit(draw_all(tmp_path / "shapes"), tmp_path / "panel")
    with container(tmp_path / "panel", tmp_path / "home") as address:
        program, *arguments = [part.replace("http://127.0.0.1:8080", address) for part in health_command()]
        assert program == "python"
        subprocess.run([sys.executable, *arguments], check=True, timeout=10)
        with httpx.Client(base_url=address) as client:
            assert client.get("/v1/panel").status_code == 401
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            assert diagnosed(client)["label"] == "circle"
    failed = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=10, check=False)
    assert failed.returncode != 0  # it is gone, and the check says so
    assert list((tmp_path / "panel").glob("history.sqlite"))
