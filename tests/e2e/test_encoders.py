"""`consilience encoders`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.commands import Invoke
from tests.support.lazy_module import lazy_module

lazy_module("open_clip")


def test_the_list_is_searched(invoke: Invoke) -> None:
    result = invoke("encoders", "--find", "metaclip_400m")
    assert result.exit_code == 0
    assert "open_clip:ViT-B-32:metaclip_400m" in result.stdout
    assert "CC-BY-NC-4.0" in result.stdout
    assert "siglip" not in result.stdout.lower()
    rows = [json.loads(line) for line in invoke("encoders", "--here", "--json").stdout.splitlines()]
    assert {"name": "efficientnet-lite0", "is_here": True, "dimension": 1280}.items() <= rows[0].items()
    wrong = invoke("encoders", "--find", "sigclip")
    assert wrong.exit_code == 1
    assert "no known encoder is called 'sigclip'" in wrong.stderr


def test_encoders_are_compared_and_one_that_is_not_there_is_named(invoke: Invoke, shapes: Path) -> None:
    result = invoke("encoders", "try", "efficientnet-lite0", "crystal", shapes)
    assert result.exit_code == 3
    assert "There is no encoder 'crystal'" in result.stderr
    assert "42 images, 14-fold cross-validation" in result.stdout
    [row] = [
        json.loads(line)
        for line in invoke("encoders", "try", "efficientnet-lite0", shapes, "--json").stdout.splitlines()
    ]
    assert row["accuracy"] > 0.9
    assert row["low"] < row["accuracy"] <= row["high"] <= 1
    alone = invoke("encoders", "try", "crystal", shapes)
    assert alone.exit_code == 1
