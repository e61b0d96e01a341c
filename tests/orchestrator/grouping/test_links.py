"""Groups that follow from links, and the links that are kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.orchestrator.grouping.links import ConnectedImages, Link

ROWS = st.integers(0, 7)


@given(pairs=st.lists(st.tuples(ROWS, ROWS), max_size=20))
def test_groups_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = [f"image {row}" for row in range(8)]
    connected = ConnectedImages(ids)
    for row, other in pairs:
        connected.join(row, other, "alike")
    ends = [[row for row, _ in pairs], [other for _, other in pairs]]
    number, components = connected_components(coo_array(([1] * len(pairs), ends), shape=(8, 8)), directed=False)
    first = {component: ids[components.tolist().index(component)] for component in components.tolist()}
    assert connected.groups() == tuple(first[component] for component in components.tolist())
    assert len(connected.links) == 8 - number


def test_the_first_reason_is_kept() -> None:
    connected = ConnectedImages(["a", "b", "c"])
    connected.join(1, 0, "copy")
    connected.join(0, 1, "alike")
    connected.join(2, 1, "burst")
    assert connected.links == (Link("b", "a", "copy"), Link("c", "b", "burst"))
    assert connected.groups() == ("a", "a", "a")


def test_a_link_is_read_as_it_was_written() -> None:
    link = Link("a", "b", "name")
    assert Link.from_list(json.loads(json.dumps(link.to_list()))) == link


@pytest.mark.parametrize("data", [["a", "b", "guess"], ["a", "b"], []])
def test_what_is_no_link_is_refused(data: list[str]) -> None:
    with pytest.raises(ValueError):
        Link.from_list(data)
