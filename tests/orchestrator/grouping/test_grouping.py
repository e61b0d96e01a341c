"""Where groups come from, as a panel stores it."""

import json

import pytest

from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping


@pytest.mark.parametrize(
    "grouping",
    [NO_GROUPING, Grouping("given", "{group}-*.jpg"), Grouping("found", "copies, bursts, names, vectors", 0.1)],
)
def test_what_is_stored_is_what_is_read(grouping: Grouping) -> None:
    assert Grouping.from_dict(json.loads(json.dumps(grouping.to_dict()))) == grouping


@pytest.mark.parametrize(
    "record",
    [
        {"how": "guessed", "rule": "", "distance": None},
        {"how": "found", "rule": "", "distance": -0.1},
        {"how": "found", "rule": "", "distance": float("nan")},
        {"how": "found", "rule": ""},
    ],
)
def test_a_record_that_is_none_is_refused(record: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Grouping.from_dict(record)
