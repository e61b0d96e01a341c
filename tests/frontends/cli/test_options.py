from __future__ import annotations

from pathlib import Path

import click
import pytest

from consilience.core.errors import SettingsError
from consilience.frontends.cli.options import collected


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSILIENCE_SETTINGS", "CONSILIENCE_SEED", "CONSILIENCE_ENCODERS", "CONSILIENCE_POLICY__TARGET"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_then_the_environment_then_assignments_then_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 1\nencoders: one\npolicy: {target: 0.6}\nbatch_size: 8\n")
    monkeypatch.setenv("CONSILIENCE_POLICY__TARGET", "0.7")
    monkeypatch.setenv("CONSILIENCE_SEED", "2")
    settings = collected(file, ("policy.target=0.8", "encoders=two"), encoders="three", agents=None)
    assert (settings.batch_size, settings.seed, settings.policy.target) == (8, 2, 0.8)
    assert settings.encoders == ("three",)
    assert settings.agents is None


def test_a_value_may_hold_equals_signs_and_the_last_one_wins() -> None:
    settings = collected(None, ("memory.url=http://one:1", "memory.url=http://host:1/?a=b"))
    assert settings.memory.url == "http://host:1/?a=b"


@pytest.mark.parametrize("assignment", ["policy.target", "policy=0.9", "policy__target=0.9", "=1", ""])
def test_an_assignment_names_a_setting(assignment: str) -> None:
    with pytest.raises(click.BadParameter, match=r"policy\.target"):
        collected(None, (assignment,))


def test_a_wrong_value_is_an_error() -> None:
    with pytest.raises(SettingsError, match="at most 1"):
        collected(None, ("policy.target=1.5",))
