"""What one address, and all together, may ask."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.frontends.web.limits import Places, Rate, TooManyError


def test_a_share_may_be_used_at_once_and_comes_back_bit_by_bit() -> None:
    now = 0.0
    rate = Rate(3, lambda: now)
    for _ in range(3):
        rate.take("a")
    with pytest.raises(TooManyError) as refused:
        rate.take("a")
    assert refused.value.status == 429
    assert refused.value.seconds == pytest.approx(20)
    rate.take("b")
    now = 20.0
    rate.take("a")
    with pytest.raises(TooManyError):
        rate.take("a")


@given(st.lists(st.floats(0, 30), min_size=1, max_size=80), st.integers(1, 10))
def test_in_no_minute_more_than_twice_the_share(waits: list[float], share: int) -> None:
    """A full share at once, and what comes back during the minute."""
    now = 0.0
    rate = Rate(share, lambda: now)
    taken = []
    for wait in waits:
        now += wait
        with suppress(TooManyError):
            rate.take("a")
            taken.append(now)
    assert all(sum(start <= moment < start + 60 for moment in taken) <= 2 * share for start in taken)


def test_neighbours_in_an_ipv6_network_are_one() -> None:
    rate = Rate(1, lambda: 0.0)
    rate.take("2001:db8::1")
    with pytest.raises(TooManyError):
        rate.take("2001:db8::2")
    rate.take("2001:db8:0:1::1")


def test_places_are_given_back_whatever_happens() -> None:
    places = Places(1)

    def fail() -> None:
        with places.take():
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    with places.take(), pytest.raises(TooManyError) as refused, places.take():
        pass
    assert refused.value.status == 503
    assert places.taken == 0
