"""Groups that a manifest or a rule gives."""

import pytest

from consilience.core.errors import DatasetError
from consilience.orchestrator.grouping.given_groups import given_groups
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping

NAMES = ["x/a-1.jpg", "x/b-1.jpg", "y/a-2.jpg", "y/c-1.jpg"]
LABELS = ["x", "x", "y", "y"]
UNKNOWN = [None] * 4


def test_without_a_rule_and_a_manifest_groups_are_to_be_found() -> None:
    assert given_groups(NAMES, LABELS, UNKNOWN, None) is None


def test_a_pattern_gives_groups_and_is_remembered_as_it_was_written() -> None:
    given = given_groups(NAMES, LABELS, UNKNOWN, "{group}-?.jpg")
    assert given == (Grouping("given", "{group}-?.jpg"), ["a", "b", "a", "c"])


def test_a_manifest_gives_groups_and_an_image_without_one_stands_by_itself() -> None:
    written = ["p1", None, "p1", "p2"]
    assert given_groups(NAMES, LABELS, written, None) == (Grouping("given", "manifest"), written)


def test_groups_can_be_switched_off_whatever_the_manifest_says() -> None:
    assert given_groups(NAMES, LABELS, ["p1", "p2", "p3", "p4"], "none") == (NO_GROUPING, UNKNOWN)


def test_two_sources_of_groups_are_one_too_many() -> None:
    with pytest.raises(DatasetError, match="names groups already: leave out --group 'parent', or the column 'group'"):
        given_groups(NAMES, LABELS, ["p1", "p2", "p3", "p4"], "parent")


def test_a_manifest_that_puts_a_label_into_one_group_is_refused() -> None:
    with pytest.raises(DatasetError, match="column 'group' puts all 2 images of 'x' into one group, 'p'"):
        given_groups(NAMES, LABELS, ["p", "p", "q", "r"], None)
