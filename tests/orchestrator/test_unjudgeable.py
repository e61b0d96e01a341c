"""What a panel cannot judge is referred with the reason, from figures alone; its own kind is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience import Diagnoser, Diagnosis, add, fit, load_settings
from consilience.core.dataset import LabelledImage
from consilience.core.errors import PanelDamagedError
from consilience.core.images import Image
from consilience.orchestrator.panel.panel import BOUNDS_FILE, Panel
from tests.orchestrator.conftest import QUICK


def darkened(path: Path, folder: Path) -> Path:
    pixels = np.asarray(PIL.Image.open(path).convert("RGB"))
    dark = folder / f"dark-{path.name}"
    PIL.Image.fromarray((pixels * 0.03).astype(np.uint8)).save(dark)
    return dark


def test_a_nearly_black_photo_is_referred_first_of_all_for_that(
    picture_panel: Path, tmp_path: Path, painted: Any
) -> None:
    usual = painted(tmp_path / "new.png", "blue", 700)
    dark = darkened(usual, tmp_path)
    with Diagnoser.open(picture_panel) as diagnoser:
        bright, black = diagnoser.diagnose(usual), diagnoser.diagnose(dark)
        again = [*diagnoser.diagnose_many([usual, dark])]
        steps = {step.node: step.update for step in diagnoser.stream(dark) if not isinstance(step, Diagnosis)}  # type: ignore[union-attr]
    assert (bright.unjudgeable, black.verdict) == ("", "refer")
    assert black.unjudgeable == black.reasons[0] == "Too dark to judge: take it again in daylight, or with more light"
    assert black.rationale.startswith("Too dark to judge")
    assert black.label  # the details still name one
    assert [result.unjudgeable for result in again if isinstance(result, Diagnosis)] == ["", black.unjudgeable]
    assert "revise" not in steps  # a second look would see no more
    assert json.loads(black.to_json())["headline"] == black.unjudgeable


def test_it_can_be_switched_off(picture_panel: Path, tmp_path: Path, painted: Any) -> None:
    dark = darkened(painted(tmp_path / "new.png", "blue", 700), tmp_path)
    with Diagnoser.open(picture_panel, policy__refer_unjudgeable=False) as diagnoser:
        assert diagnoser.diagnose(dark).unjudgeable == ""


def test_vectors_have_no_light(panel: Path, blobs: Any) -> None:
    assert Panel.open(panel).bounds is None
    with Diagnoser.open(panel) as diagnoser:
        (result,) = diagnoser.diagnose_vectors(blobs.centres[:1], ["a"])
    assert isinstance(result, Diagnosis)
    assert result.unjudgeable == ""


def test_what_somebody_could_label_can_be_judged(picture_panel: Path, tmp_path: Path, painted: Any) -> None:
    own = Path(shutil.copytree(picture_panel, tmp_path / "own"))
    dark = darkened(painted(tmp_path / "new.png", "blue", 700), tmp_path)
    add(own, [LabelledImage(dark, "blue")])
    with Diagnoser.open(own) as diagnoser:
        assert diagnoser.diagnose(dark).unjudgeable == ""


def test_damaged_bounds_are_told(picture_panel: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(picture_panel, tmp_path / "own"))
    (state,) = own.glob("state-*")
    bounds = json.loads((state / BOUNDS_FILE).read_text())
    manifest = own / "panel.json"
    (state / BOUNDS_FILE).write_text(json.dumps(bounds | {"blur": [0.0, 0.0]}))
    with pytest.raises(PanelDamagedError):
        Panel.open(own)
    assert manifest.exists()


@pytest.mark.slow
def test_a_panel_of_dark_photos_judges_dark_photos(tmp_path: Path, painted: Any) -> None:
    folder = tmp_path / "labelled"
    for number in range(24):
        label = ("blue", "red")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        darkened(painted(tmp_path / f"{number}.png", label, 800 + number), folder / label)
    fit(folder, tmp_path / "night", settings=QUICK)
    new = darkened(painted(tmp_path / "new.png", "blue", 900), tmp_path)
    with Diagnoser.open(tmp_path / "night", settings=load_settings()) as diagnoser:
        assert diagnoser.diagnose(new).unjudgeable == ""
        assert diagnoser.diagnose(Image.from_pixels(np.full((64, 64, 3), 128, np.uint8))).unjudgeable
