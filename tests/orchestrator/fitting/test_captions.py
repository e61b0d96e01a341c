"""A captioner at fit: each labelled image is described once, and caps-adapter holds what was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.agents import CapsAdapter
from consilience.core.errors import AgentError, BudgetSpentError, PanelError, SettingsError
from consilience.orchestrator.fitting.new_label import add_label
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.open_encoder import open_encoder
from tests.support import colour_server, tiny_clip
from tests.support.scripted_server import Scripted, ScriptedServer, chat
from tests.support.vlm_cases import texts

EACH = 4


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_clip.make(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def photos(tmp_path: Path, painted: Any) -> Path:
    for label in colour_server.NAMES:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(EACH):
            painted(tmp_path / "photos" / label / f"{number}.png", label, number)
    return tmp_path / "photos"


def is_caption(request: dict[str, Any]) -> bool:
    return texts(request)[0].startswith("You describe images")


def by_colour(request: dict[str, Any]) -> Scripted:
    return chat("Speckles.", tokens=colour_server.TOKENS) if is_caption(request) else colour_server.by_colour(request)


def arguments(server: ScriptedServer, spec: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    server.by_request = server.by_request or by_colour
    usual = {
        "encoders": spec,
        "device": "cpu",
        "agents": ["gaussian", "caps-adapter"],
        "models": [colour_server.model(server.url, second_look=False)],
        "captioner": "qwen",
        "replies__path": tmp_path / "replies.sqlite",
    }
    return usual | more


def head_of(panel: Path) -> CapsAdapter:
    [head] = [head for head in Panel.open(panel).heads if isinstance(head, CapsAdapter)]
    return head


def test_each_image_is_described_once_and_the_panel_diagnoses(
    server: ScriptedServer, spec: str, photos: Path, tmp_path: Path
) -> None:
    report = fit(photos, tmp_path / "panel", **arguments(server, spec, tmp_path))
    assert sum(map(is_caption, server.requests)) == 3 * EACH
    assert report.cost_usd == pytest.approx(2 * 3 * EACH * colour_server.COST)  # a caption and a look each
    panel, described = Panel.open(tmp_path / "panel"), head_of(tmp_path / "panel").described
    assert described is not None
    expected = open_encoder(spec, device="cpu").encode_texts(
        [f"a photo of {label}. Speckles." for label in panel.labelled_images.labels]
    )
    np.testing.assert_allclose(described, expected, atol=1e-5)
    with Diagnoser.open(tmp_path / "panel", settings=load_settings(device="cpu")) as diagnoser:
        [diagnosis] = diagnoser.diagnose_many([photos / "red" / "0.png"])
    assert isinstance(diagnosis, Diagnosis)
    asked = len(server.requests)
    assert fit(photos, tmp_path / "again", **arguments(server, spec, tmp_path)).cost_usd == 0.0
    assert len(server.requests) == asked


def test_an_image_that_is_not_described_has_no_caption(
    server: ScriptedServer, spec: str, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def silent_on_one(request: dict[str, Any]) -> Scripted:
        first = is_caption(request) and sum(map(is_caption, server.requests)) == 1
        return chat("") if first else by_colour(request)

    server.by_request = silent_on_one
    fit(photos, tmp_path / "panel", **arguments(server, spec, tmp_path))
    described = head_of(tmp_path / "panel").described
    assert described is not None
    assert described.any(axis=1).sum() == 3 * EACH - 1
    assert "could not describe 1 of 12 images" in caplog.text


def test_a_captioner_that_describes_nothing_is_named_with_the_cause(
    server: ScriptedServer, spec: str, photos: Path, tmp_path: Path
) -> None:
    server.by_request = lambda request: chat("") if is_caption(request) else by_colour(request)
    with pytest.raises(AgentError, match="'qwen' described none of the first images: the reply is empty"):
        fit(photos, tmp_path / "panel", **arguments(server, spec, tmp_path))
    assert not (tmp_path / "panel").exists()


def test_captions_keep_to_the_budget(server: ScriptedServer, spec: str, photos: Path, tmp_path: Path) -> None:
    little = 2.5 * colour_server.COST
    with pytest.raises(BudgetSpentError):
        fit(photos, tmp_path / "panel", **arguments(server, spec, tmp_path, policy__max_run_cost_usd=little))
    assert len(server.requests) < 3 * EACH


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"captioner": "gpt"}, "no agent called 'gpt' can describe images; those that can: qwen"),
        ({"models": []}, "no agent called 'qwen' can describe images; those that can: none"),
        ({"agents": ["gaussian"]}, "no agent reads captions: add 'caps-adapter'"),
    ],
)
def test_a_captioner_that_cannot_be_is_refused_before_anything_is_asked(
    server: ScriptedServer, spec: str, photos: Path, tmp_path: Path, more: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        fit(photos, tmp_path / "panel", **arguments(server, spec, tmp_path, **more))
    assert not server.requests


def test_a_panel_with_captions_takes_no_label_as_it_is(
    server: ScriptedServer, spec: str, photos: Path, tmp_path: Path
) -> None:
    fit(photos, tmp_path / "panel", **arguments(server, spec, tmp_path))
    with pytest.raises(PanelError, match="fit it again with all images"):
        add_label(tmp_path / "panel", "white", [photos / "red" / "0.png"], settings=load_settings(device="cpu"))
