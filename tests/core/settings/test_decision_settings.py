"""Frequencies and costs as people write them, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consilience.core.errors import SettingsError
from consilience.core.settings.settings import load_settings


def test_frequencies_from_a_file_a_variable_and_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("decision:\n  frequencies: {scab: 0.05, healthy: 0.95}\n  costs: {mistakes: 2, person: 1}\n")
    settings = load_settings(file)
    assert settings.decision.frequencies == {"scab": 0.05, "healthy": 0.95}
    assert (settings.decision.costs.mistakes, settings.decision.costs.person) == (2.0, 1.0)
    for text in ("scab=0.1, healthy=0.9", '{"scab": 0.1, "healthy": 0.9}'):
        monkeypatch.setenv("CONSILIENCE_DECISION__FREQUENCIES", text)
        assert load_settings(file).decision.frequencies == {"scab": 0.1, "healthy": 0.9}
    assert load_settings(file, decision__frequencies="estimate").decision.frequencies == "estimate"
    assert load_settings(decision__frequencies={1: 0.5, 2: 0.5}).decision.frequencies == {"1": 0.5, "2": 0.5}


def test_shares_that_were_rounded_are_scaled() -> None:
    frequencies = load_settings(decision__frequencies={"a": 0.333, "b": 0.333, "c": 0.333}).decision.frequencies
    assert frequencies == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


def test_nothing_is_set_by_default() -> None:
    decision = load_settings().decision
    assert decision.frequencies is None
    assert not decision.costs.are_set


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        (
            {"a": 0.5, "b": 0.4},
            "the argument 'decision__frequencies' sets 'decision.frequencies': the shares sum to 0.9; ",
        ),
        ({"a": 1.2, "b": -0.2}, "the share of 'b' is -0.2; it must be a finite number, at least 0"),
        ({"a": float("nan"), "b": 1}, "the share of 'a' is nan; it must be a finite number"),
        ({"a": "much", "b": 1}, "the share of 'a' is 'much'; it must be a finite number"),
        ({}, "the shares sum to 0; they must sum to 1"),
        ("guess", "it must be a share for each label, such as"),
        ([0.5, 0.5], "it must be a share for each label, such as"),
        ('{"a": 0.5', "it must be a mapping; as a text, in JSON"),
    ],
)
def test_frequencies_that_cannot_be(frequencies: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(decision__frequencies=frequencies)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"mistakes": -1, "person": 1}, "the cost of a mistake is -1; it must be a finite number, at least 0"),
        ({"mistakes": {"a": {"b": float("inf")}}, "person": 1}, "the cost of 'b' for 'a' is inf; it must be a finite"),
        ({"mistakes": {"a": float("nan")}, "person": 1}, "the cost of mistakes about 'a' is nan; it must be a finite"),
        ({"mistakes": [[0, 1], [1, 0]], "person": 1}, "the cost of a mistake is [[0, 1], [1, 0]]; it must be a finite"),
        ({"mistakes": 1, "person": -0.5}, "the price of a person is -0.5; it must be a finite number, at least 0"),
        ({"mistakes": 1}, "costs take both mistakes and person, in one unit: set decision.costs.person, too"),
        ({"person": 1}, "set decision.costs.mistakes, too"),
    ],
)
def test_costs_that_cannot_be(costs: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{f"decision__costs__{name}": value for name, value in costs.items()})
    assert message in str(caught.value)
