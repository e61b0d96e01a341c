"""Where the agents looked, over the pictures of a report, and its bounds."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import consilience
from consilience.core.errors import MissingExtraError
from consilience.evals.evaluation import evaluate
from consilience.evals.report import where_looked, write_report
from consilience.orchestrator.panel.panel import Panel
from tests.support.made_once import made_once
from tests.support.shapes import draw, draw_all

LAYER = re.compile(r'<img class="subject looked" src="data:image/png;base64,([^"]+)" alt=""')


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A panel of shapes, and its evaluation on six images, of which three lie in a wrong folder. Not to be changed."""
    shapes = made_once(tmp_path_factory, "shapes", draw_all)
    try:
        panel = made_once(tmp_path_factory, "fitted-shapes", lambda path: consilience.fit(shapes, path, group="none"))
    except MissingExtraError as missing:
        pytest.skip(f"the encoder is not in the cache and cannot be made: {missing}")
    images, out = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("evaluated") / "out"
    for folder, label in (("circle", "circle"), ("square", "stripes")):
        (images / folder).mkdir()
        for number in range(3):
            draw(label, 3000 + number).resize((96, 48)).save(images / folder / f"{number}.png")
    evaluate(images, panel, out)
    return panel, out


def layers(page: str) -> list[np.ndarray]:
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data)))) for data in LAYER.findall(page)]


def test_each_picture_of_a_gallery_has_its_colours_and_words(evaluated: tuple[Path, Path]) -> None:
    panel, out = evaluated
    page = (out / "report.html").read_text(encoding="utf-8")
    shown = page.count("What each agent predicted")
    assert shown >= 3
    assert len(layers(page)) == shown == page.count("Where it looked: ")
    for layer in layers(page):
        assert layer.shape == (16, 32, 4)  # in the shape of the image
        assert layer[:, :, 3].max() == 255
    assert 'name="looked" type="range"' in page
    row = json.loads((out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    with consilience.Diagnoser.open(panel) as diagnoser:
        heat = diagnoser.heat(diagnoser.diagnose(Path(row["source"])))
    assert heat.words in page
    assert f"speaks for {heat.label}" in page


def test_no_more_images_are_looked_at_than_the_bound_says(
    evaluated: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    panel, out = evaluated[0], Path(shutil.copytree(evaluated[1], tmp_path / "out"))
    opened = Panel.open(panel)
    monkeypatch.setattr(where_looked, "MOST", 1)
    page = write_report(out, opened, opened.encoder.open("cpu")).read_text(encoding="utf-8")
    assert len({layer.tobytes() for layer in layers(page)}) == 1
    without = write_report(out, opened).read_text(encoding="utf-8")
    assert layers(without) == []
    assert "Where it looked" not in without
