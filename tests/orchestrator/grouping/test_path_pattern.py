"""Groups that are given by a pattern on the path."""

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.errors import DatasetError
from consilience.orchestrator.grouping.path_pattern import LONGEST, PathPattern

NAMES = ["train/apple/apple10-066-153.jpg", "val/apple/apple2-000-000.JPG", "pear/p-3/pear1-x.png"]


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("{group}-*.*", ["apple10", "apple2", "pear1"]),
        ("{group}-*.jpg", ["apple10", "apple2", None]),
        ("{group}-*-???.jpg", ["apple10", "apple2", None]),
        ("*-{group}.*", ["066-153", "000-000", "x"]),
        ("*-*-{group}.jpg", ["153", "000", None]),
        ("p-{group}/*", [None, None, "3"]),
        ("{group}/*/*", ["train", "val", "pear"]),
        ("p?ar{group}-x.png", [None, None, "1"]),
        ("parent", ["apple", "apple", "p-3"]),
        (r"^(?P<group>[a-z]+\d+)-", ["apple10", "apple2", "pear1"]),
        (r"/(?P<group>[a-z]+)\d+-", ["apple", "apple", "pear"]),
        (r"(?P<group>\d*)-x", [None, None, "1"]),
    ],
)
def test_a_pattern_names_the_group_of_each_path(pattern: str, groups: list[str | None]) -> None:
    assert PathPattern(pattern).groups(NAMES) == groups


def test_an_image_beside_no_folder_has_no_parent() -> None:
    assert PathPattern("parent").groups(["leaf.jpg"]) == [None]


WORDS = st.text("ab-_", min_size=1, max_size=8)


@given(name=WORDS, parts=st.lists(st.sampled_from(["a", "-", "_", "*", "?"]), max_size=5))
def test_a_pattern_matches_what_a_plain_expression_with_the_shortest_name_matches(name: str, parts: list[str]) -> None:
    """Never going back loses no match: held against `re`, which does go back."""
    tail = re.sub(r"\*+", "*", "".join(parts))
    if tail.startswith("*"):
        return
    plain = "(?P<group>[^/]+?)" + "".join({"*": "[^/]*?", "?": "[^/]"}.get(part, re.escape(part)) for part in tail)
    match = re.fullmatch(plain, name)
    assert (PathPattern("{group}" + tail).groups([name])[0] is None) == (match is None)


def test_a_wildcard_pattern_takes_linear_time() -> None:
    """With going back this would take longer than the universe has lasted."""
    assert PathPattern("{group}-" + "*a" * 60 + ".jpg").groups(["x-" + "a" * 200 + ".png"]) == [None]


def test_a_regular_expression_that_would_take_for_ever_is_ended() -> None:
    with pytest.raises(DatasetError, match=r"takes longer than 0\.3 s on 1 names; write it without repetitions inside"):
        PathPattern(r"(?P<group>(a+)+)$").groups(["a" * 60 + "!"], seconds=0.3)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("*.jpg", r"must name the group once: as '\{group\}-\*\.jpg'"),
        ("", "must name the group once"),
        ("{group}-{group}.jpg", "must name the group once"),
        ("{group}*.jpg", "does not say where the name begins and ends"),
        ("*{group}.jpg", "does not say where the name begins and ends"),
        ("(?P<group>[a-z", "is no regular expression: unterminated"),
        ("(?P<group>" + "a" * LONGEST + ")", f"at most {LONGEST} characters"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        PathPattern(pattern)


def test_names_that_do_not_match_are_named() -> None:
    labels = ["apple", "apple", "pear"]
    with pytest.raises(DatasetError, match=r"matches none of the images, for example not 'train/apple/apple10-066"):
        PathPattern("{group}+*.jpg").checked_groups(NAMES, labels)
    with pytest.raises(DatasetError, match=r"not all images \(not 1 of them\), for example not 'pear/p-3"):
        PathPattern("{group}-*.jpg").checked_groups(NAMES, labels)


def test_a_pattern_that_tells_nothing_apart_is_refused() -> None:
    with pytest.raises(DatasetError, match="puts all 2 images into one group, 'a'"):
        PathPattern("{group}-*").checked_groups(["x/a-1.jpg", "y/a-2.jpg"], ["x", "y"])
    with pytest.raises(DatasetError, match=r"puts all 2 images of 'x' into one group, 'x', so nothing.*--group none"):
        PathPattern("parent").checked_groups(["x/1.jpg", "x/2.jpg", "y/1.jpg"], ["x", "x", "y"])


def test_a_label_with_a_single_image_is_no_fault_of_the_groups() -> None:
    names = ["x/a-1.jpg", "x/b-1.jpg", "y/c-1.jpg"]
    assert PathPattern("{group}-*").checked_groups(names, ["x", "x", "y"]) == ["a", "b", "c"]


def test_a_name_is_a_name_whatever_the_label() -> None:
    names = ["scab/tree1-a.jpg", "scab/tree2-a.jpg", "rust/tree1-b.jpg", "rust/tree3-b.jpg"]
    groups = PathPattern("{group}-*.jpg").checked_groups(names, [str(PurePosixPath(name).parent) for name in names])
    assert groups[0] == groups[2]
