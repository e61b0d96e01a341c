"""A panel of several encoders: fitted, read again, diagnosing, learning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.core.dataset import LabelledImage
from consilience.core.errors import AgentError, MissingExtraError
from consilience.orchestrator.fitting.update import add
from consilience.orchestrator.panel.panel import Panel
from tests.support import tiny_clip
from tests.support.made_once import made_once

LITE = "efficientnet-lite0"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_clip.make(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, pictures: Path, clip: str) -> Path:
    """Of EfficientNet-Lite0 and a tiny CLIP. Not to be changed."""
    settings = load_settings(encoders=[LITE, clip], agents="neighbours,gaussian,zero-shot", device="cpu")
    try:
        return made_once(
            tmp_path_factory, "panel-of-two-eyes", lambda path: fit(pictures, path, settings=settings, group="none")
        )
    except MissingExtraError as missing:
        pytest.skip(f"the encoder is not in the cache and cannot be made: {missing}")


@pytest.mark.slow
def test_each_head_reads_its_eye_and_the_weights_travel(panel: Path, clip: str) -> None:
    opened = Panel.open(panel)
    assert opened.agents == (
        "neighbours",
        "gaussian@lite0",
        "gaussian@consilience-test-tiny",
        "zero-shot@consilience-test-tiny",
    )
    assert (opened.encoder.name, opened.encoder.dimension) == (f"{LITE} + {clip}", 1280 + 32)
    assert [file.name for file in (panel / "state-0001" / "encoders").iterdir()] == [f"{LITE}.onnx"]
    np.testing.assert_allclose(np.linalg.norm(opened.labelled_images.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_it_diagnoses_and_learns_on(panel: Path, pictures: Path, tmp_path: Path) -> None:
    own = tmp_path / "panel"
    shutil.copytree(panel, own)
    settings = load_settings(device="cpu")
    picture = pictures / "red" / "0.png"
    other = tmp_path / "other.png"
    shutil.copy(picture, other)
    with Diagnoser.open(own, settings=settings) as diagnoser:
        [diagnosis] = diagnoser.diagnose_many([picture])
    assert isinstance(diagnosis, Diagnosis)
    assert {prediction.agent for prediction in diagnosis.predictions} == set(Panel.open(own).agents)
    assert all(prediction.error is None for prediction in diagnosis.predictions)
    report = add(own, [LabelledImage(other, "red")], settings=settings)
    assert (report.images.added, report.images.skipped) == (0, 1)


def test_an_agent_that_no_eye_can_be_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="text tower"):
        fit(pictures, tmp_path / "panel", encoders=[LITE, "efficientnet-lite1"], agents=["zero-shot"], group="none")
    with pytest.raises(AgentError, match="there is no eye 'lite2'"):
        fit(pictures, tmp_path / "panel", encoders=[LITE, "efficientnet-lite1"], agents=["probe@lite2"], group="none")
    assert not (tmp_path / "panel").exists()
