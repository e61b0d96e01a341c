"""What commands say of images from elsewhere, and of the sources that are watched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.support.commands import Invoke
from tests.support.shapes import LABELS, draw


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve pictures of coloured bars, each another."""
    folder = tmp_path_factory.mktemp("bars")
    for number in range(12):
        rng = np.random.default_rng(number)
        wave = np.sin(np.arange(96)[:, None, None] / rng.uniform(2, 5) + rng.uniform(0, 6, 3)) * 100 + 128
        pixels = np.clip(wave + rng.normal(0, 30, (96, 96, 3)), 0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


def test_many_images_from_elsewhere_are_said_to_be_so_first_and_referred(
    invoke: Invoke, panel: Path, bars: list[Path]
) -> None:
    result = invoke("diagnose", *bars, "--panel", panel, "--json")
    assert result.stderr.startswith("warning: These images differ from the labelled ones")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["verdict"] for line in lines] == ["refer"] * 12
    assert all("differ from the labelled ones" in line["reasons"][0] for line in lines)
    reported = invoke("diagnose", *bars, "--panel", panel, "--json", "--set", "policy.on_shift=report")
    assert reported.stderr.startswith("warning: These images differ")
    assert "differ from the labelled ones" not in reported.stdout


def test_usual_images_and_too_few_ones_are_said_to_be_so_last(invoke: Invoke, panel: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        draw(LABELS[number % 3], 3000 + number).save(path)
    assert "Nothing shows that these images differ" in invoke("diagnose", *paths, "--panel", panel).stderr
    few = invoke("diagnose", *paths[:3], "--panel", panel).stderr
    assert few.startswith("3 images: ")
    assert "Too few images to tell" in few


@pytest.mark.slow
def test_single_images_are_watched_by_source_and_show_tells_where_that_stands(
    invoke: Invoke, panel: Path, bars: list[Path]
) -> None:
    assert json.loads(invoke("show", panel, "--json").stdout)["streams"] == []
    results = [invoke("diagnose", bar, "--panel", panel, "--json", "--source", "gate 3") for bar in bars]
    first, last = (json.loads(result.stdout) for result in (results[0], results[-1]))
    assert not any("differ from" in reason for reason in first["reasons"])
    assert last["verdict"] == "refer"
    assert "differ from the labelled ones" in last["reasons"][0]
    assert "warning" in results[-1].stderr
    (stream,) = json.loads(invoke("show", panel, "--json").stdout)["streams"]
    assert (stream["source"], stream["seen"], stream["alarm"]) == ("command, gate 3", 12, True)
    assert stream["examples"][-1] == "11.png"
    assert "images from 'command, gate 3' differ from the labelled ones" in " ".join(
        invoke("show", panel).stdout.split()
    )
    usual = json.loads(invoke("diagnose", bars[0], "--panel", panel, "--json", "--no-history").stdout)
    assert not any("differ from the labelled" in reason for reason in usual["reasons"])
