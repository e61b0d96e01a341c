"""How the server starts, whom it lets in, and what it does when its panel is replaced."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import consilience
from consilience.core.dataset import LabelledImage
from consilience.core.storage.panel_folder import MANIFEST
from consilience.orchestrator.feedback.feedback import Feedbacks
from consilience.orchestrator.feedback.history import History
from tests.support.shapes import draw
from tests.support.web_server import BYTES, diagnosed, png, serving

TOKEN = "a-token-of-the-tests-7f3a"  # noqa: S105


def _refused(*arguments: str, **environment: str) -> str:
    command = [str(Path(sys.executable).with_name("consilience")), "web", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | environment)
    assert ended.returncode == 1
    return ended.stderr


@pytest.mark.slow
def test_it_does_not_start_where_anybody_could_come_in(fitted_shapes: Path) -> None:
    assert "CONSILIENCE_WEB_TOKEN" in _refused("--panel", str(fitted_shapes), "--host", "0.0.0.0")  # noqa: S104
    assert "CONSILIENCE_WEB_TOKEN" in _refused("--panel", str(fitted_shapes), "--name", "leaves.example")
    short = _refused("--panel", str(fitted_shapes), CONSILIENCE_WEB_TOKEN="short-one")
    assert "16 characters" in short
    assert "short-one" not in short


def test_it_does_not_start_without_a_panel(tmp_path: Path) -> None:
    assert "there is no panel" in _refused("--panel", str(tmp_path / "none"), "--port", "0")


def test_whoever_lacks_the_token_gets_the_page_and_nothing_else(panel: Path) -> None:
    with serving(panel, token=TOKEN) as address, httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        assert client.get("/").status_code == 200
        assert client.get("/static/script.js").status_code == 200
        assert client.get("/health").json() == {"status": "ok"}
        for path in ("/v1/panel", "/v1/diagnoses", "/metrics", "/v1/openapi.json", "/v1/diagnoses/x/image"):
            assert client.get(path).status_code == 401
        assert client.post("/v1/diagnose", content=png("circle", 1), headers=BYTES).status_code == 401
        assert client.get("/v1/panel", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/panel", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200

        assert client.post("/v1/session", json={"token": "wrong"}).status_code == 403
        signed_in = client.post("/v1/session", json={"token": TOKEN})
        assert signed_in.status_code == 204
        assert TOKEN not in signed_in.headers["set-cookie"]
        assert client.get("/v1/panel").status_code == 200


def test_one_address_gets_its_share_of_a_minute(panel: Path) -> None:
    with (
        serving(panel, "--set", "web.images_a_minute=2") as address,
        httpx.Client(base_url=address, trust_env=False, timeout=120) as client,
    ):
        diagnosed(client)
        diagnosed(client)
        refused = client.post("/v1/diagnose", content=png("circle", 1), headers=BYTES)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 30


@pytest.mark.slow
def test_a_panel_that_is_replaced_is_taken_up_and_a_damaged_one_is_not(panel: Path) -> None:
    with serving(panel) as address, httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        images = client.get("/v1/panel").json()["images"]
        new = panel.parent / "new.png"
        draw("circle", 4000).save(new)
        consilience.add(panel, [LabelledImage(new, "circle")])
        _until(lambda: bool(diagnosed(client)) and client.get("/v1/panel").json()["images"] == images + 1)

        (panel / "broken").write_text("{")
        (panel / "broken").replace(panel / MANIFEST)
        _until(lambda: bool(diagnosed(client)) and client.get("/health").json() == {"status": "outdated"})
        assert diagnosed(client, "square")["label"] == "square"
        (notice,) = client.get("/v1/panel").json()["notices"]
        assert re.search("cannot be opened", notice)


@pytest.mark.slow
def test_an_agent_that_has_become_worse_is_named(panel: Path) -> None:
    settings = consilience.load_settings(learning__review="at-once")
    with consilience.Diagnoser.open(panel) as diagnoser, History.open(panel) as history:
        feedbacks = Feedbacks(history, settings.learning)
        for diagnosis in diagnoser.diagnose_many(draw("circle", 5000 + number) for number in range(12)):
            assert isinstance(diagnosis, consilience.Diagnosis)
            feedbacks.give(history.keep(diagnosis).id, "somebody", "square")
    with serving(panel) as address:
        notices = httpx.get(f"{address}/v1/panel", trust_env=False, timeout=120).json()["notices"]
    assert any("gaussian has become worse: it was right on 0 % of the 12 images" in notice for notice in notices)


@pytest.mark.slow
def test_a_source_whose_images_come_from_elsewhere_is_referred_and_named(panel: Path) -> None:
    with serving(panel) as address, httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        for number in range(14):
            image = draw("circle", number).rotate(30 + 23 * number, fillcolor=(250, 10 * number, 250)).quantize(4)
            file = io.BytesIO()
            image.convert("RGB").save(file, "PNG")
            answer = client.post(
                "/v1/diagnose", params={"source": "gate 3"}, content=file.getvalue(), headers=BYTES
            ).json()
        assert answer["verdict"] == "refer"
        assert "differ from the labelled ones" in answer["reasons"][0]
        assert "differ" not in " ".join(diagnosed(client)["reasons"])  # that is another source
        (notice,) = client.get("/v1/panel").json()["notices"]
        assert notice.startswith("The images from 'web, gate 3' differ from the labelled ones")


def _until(holds: Callable[[], bool], seconds: float = 120) -> None:
    """It is asked again and again: each time is a request that the server answers."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not happened"


@pytest.mark.parametrize("option", ["--host", "--open", "--name"])
def test_help_says_who_can_reach_it(option: str) -> None:
    from click.testing import CliRunner

    from consilience.frontends.cli.main import main

    assert option in CliRunner().invoke(main, ["web", "--help"]).output
