"""What one address, and all together, may ask."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.frontends.web.limits import Rate, Shares, TooManyError


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


def test_counting_nothing_refuses_what_counting_would_refuse() -> None:
    rate = Rate(1, lambda: 0.0)
    rate.check("a")
    rate.take("a")
    with pytest.raises(TooManyError):
        rate.check("a")
    rate.check("b")


def test_one_address_gets_half_and_all_together_the_whole() -> None:
    images = Shares("images", 4)
    with images.holding("192.0.2.1"), images.holding("::ffff:192.0.2.1"):  # the same
        with pytest.raises(TooManyError) as refused:
            images.take("192.0.2.1")
        assert refused.value.status == 429
        with images.holding("b"), images.holding("c"), pytest.raises(TooManyError) as refused:
            images.take("d")
        assert refused.value.status == 503
    assert images.taken == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=30))
def test_what_was_taken_can_be_given_back_whatever_was_refused(wanted: list[tuple[str, int]]) -> None:
    shares, taken = Shares("bytes", 10), []
    for address, amount in wanted:
        with suppress(TooManyError):
            shares.take(address, amount)
            taken.append((address, amount))
        assert shares.taken == sum(amount for _, amount in taken) <= 10
        assert all(sum(amount for owner, amount in taken if owner == address) <= 5 for address in "abc")
    for address, amount in taken:
        shares.give_back(address, amount)
    assert shares.taken == 0


def test_places_are_given_back_whatever_happens() -> None:
    places = Shares("images", 2)

    def fail() -> None:
        with places.holding("a"):
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert places.taken == 0
    with places.holding("a"):
        pass
