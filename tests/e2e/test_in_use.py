"""Frequencies and costs, from a settings file to what commands say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import Invoke

NAMES = ("cracked", "dusty", "sound")
CENTRES = np.eye(3, 8)


def vectors(path: Path, counts: tuple[int, int, int], seed: int) -> Path:
    """An .npz of unit vectors around a centre a label."""
    labels = np.repeat(np.arange(3), counts)
    drawn = CENTRES[labels] + 0.3 * np.random.default_rng(seed).standard_normal((len(labels), 8))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    names = [f"{path.stem}-{number}" for number in range(len(labels))]
    np.savez(path, embeddings=drawn.astype(np.float32), labels=np.array(NAMES)[labels], names=np.array(names))
    return path


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted on 14 cracked, 120 dusty and 120 sound ones. Not to be changed."""
    from consilience import fit

    folder = tmp_path_factory.mktemp("in_use")
    fit(
        vectors(folder / "known.npz", (14, 120, 120), 0),
        folder / "panel",
        agents=["neighbours", "gaussian"],
        group="none",
    )
    return folder / "panel"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "line.yaml"
    file.write_text(
        "decision:\n"
        "  frequencies: {cracked: 0.01, dusty: 0.04, sound: 0.95}\n"
        "  costs:\n"
        "    mistakes: {cracked: 100, dusty: 1, sound: 1}\n"
        "    person: 0.5\n"
    )
    return file


def test_show_says_of_which_label_nothing_is_promised(invoke: Invoke, panel: Path) -> None:
    shown = " ".join(invoke("show", panel).stdout.split())
    assert "cracked: no promise of its own; 99 images would be needed, it has 14." in shown
    assert "dusty: no promise" not in shown
    promises = json.loads(invoke("show", panel, "--json").stdout)["policy"]["promises"]
    assert promises["cracked"] == {"is_own": False, "groups": 14, "needed": 99}
    assert promises["sound"] == {"is_own": True, "groups": 120, "needed": 99}


def test_show_says_what_a_word_is_worth_in_use_and_what_decisions_cost(
    invoke: Invoke, panel: Path, settings: Path
) -> None:
    shown = " ".join(invoke("show", panel, "--settings", settings).stdout.split())
    assert "At 95.0 % sound, " in shown
    assert " of those settled as sound are (" in shown
    assert "So an image costs " in shown
    assert "0.5 if a person is always asked" in shown
    policy = json.loads(invoke("show", panel, "--settings", settings, "--json").stdout)["policy"]
    assert policy["settle"] == "costs"
    assert policy["costs"]["always"] == 0.5
    assert policy["costs"]["cost"] <= policy["costs"]["always"]
    assert sum(worth["share"] for worth in policy["worth"].values()) == pytest.approx(1.0)


def test_the_frequencies_of_many_images_are_estimated_and_said(invoke: Invoke, panel: Path, tmp_path: Path) -> None:
    line = vectors(tmp_path / "line.npz", (0, 5, 195), 1)
    estimated = invoke(
        "diagnose", line, line, "--panel", panel, "--no-history", "--set", "decision.frequencies=estimate"
    )
    assert estimated.exit_code == 0
    assert "Labels seem to occur so among 400 images: cracked " in estimated.stderr
    assert "This is used." in estimated.stderr
    assert "Labels seem" not in invoke("diagnose", line, "--panel", panel, "--no-history").stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("decision.frequencies=cracked=0.5,dusty=0.5", "decision.frequencies has no share for 'sound'"),
        ("decision.frequencies=cracked=0.5,dusty=0.2,sound=0.1", "the shares sum to 0.8; they must sum to 1"),
        ("decision.frequencies=cracked=0,dusty=0.2,sound=0.8", "says 0 for 'cracked', which 14 labelled images show"),
        ("decision.costs.person=1", "set decision.costs.mistakes, too"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(invoke: Invoke, panel: Path, setting: str, message: str) -> None:
    refused = invoke("show", panel, "--set", setting)
    assert refused.exit_code != 0
    assert message in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
