"""The martingale: it is one, it never forgets how, and it notices changes early and late."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.orchestrator.shift.martingale import OnlineRanks, ShiftMartingale

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)


def run(held: int, before: int, after: int, by: float, seed: int) -> tuple[ShiftMartingale, int | None]:
    """Follow a stream of normal scores that changes; return the martingale, and after how many images it says so."""
    rng = np.random.default_rng(seed)
    edges = np.linspace(-5, 9, 199)
    ranks = OnlineRanks.beside(np.bincount(np.digitize(rng.standard_normal(held), edges), minlength=200))
    scores = rng.standard_normal(before + after) + np.r_[np.zeros(before), np.full(after, by)]
    martingale = ShiftMartingale()
    for number, score_class in enumerate(np.digitize(scores, edges).tolist()):
        martingale.bet(ranks.p_value(score_class, float(rng.random())))
        if martingale.alarm:
            return martingale, number + 1 - before
    return martingale, None


@given(st.lists(st.floats(0, 1), max_size=30))
def test_no_bet_is_expected_to_win(p_values: list[float]) -> None:
    """Whatever came before, the wealth after one more uniform p-value is the wealth now, on average."""
    martingale = ShiftMartingale()
    for p_value in p_values:
        martingale.bet(p_value)
    data = martingale.to_dict()
    following = []
    for node in (NODES + 1) / 2:
        following.append(ShiftMartingale.from_dict(data))
        following[-1].bet(float(node))
    mean = float(WEIGHTS @ [after.wealth for after in following] / 2)
    assert mean == pytest.approx(martingale.wealth, rel=1e-6)


def test_it_begins_with_a_wealth_of_one() -> None:
    assert ShiftMartingale().wealth == 1.0
    assert not ShiftMartingale().alarm


def test_two_or_three_strange_images_raise_no_alarm() -> None:
    martingale = ShiftMartingale()
    for _ in range(4):
        martingale.bet(0.0)
    assert not martingale.alarm
    for _ in range(4):
        martingale.bet(0.0)
    assert martingale.alarm


def test_an_alarm_holds() -> None:
    martingale = ShiftMartingale()
    for p_value in [0.0] * 10 + [1.0] * 10:
        martingale.bet(p_value)
    assert martingale.wealth < 1
    assert martingale.alarm
    assert ShiftMartingale.from_dict(martingale.to_dict()) == martingale


def test_ranks_are_those_among_the_held_out_and_the_earlier_images() -> None:
    ranks = OnlineRanks.beside(np.array([1, 2, 0, 1]))
    assert ranks.p_value(3, 0.0) == pytest.approx(2 / 5)
    assert ranks.p_value(3, 0.0) == pytest.approx(3 / 6)
    assert ranks.p_value(1, 0.5) == pytest.approx((3 + 0.5 * 3) / 7)
    assert OnlineRanks.restored(ranks.held, ranks.to_dict()).p_value(0, 0.5) == pytest.approx(
        (6 + 1 + 0.5) / 8, abs=0.2
    )


def test_p_values_of_an_unchanged_stream_are_uniform_and_independent_however_few_are_held_out() -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(3000):
        ranks = OnlineRanks.beside(np.bincount(rng.integers(4, size=3), minlength=4))
        p_values = [ranks.p_value(int(rng.integers(4)), float(rng.random())) for _ in range(4)]
        pairs.append(p_values[2:])
    first, second = np.array(pairs).T
    for column in (first, second):
        assert abs(np.sort(column) - np.linspace(0, 1, 3000)).max() < 0.035  # Kolmogorov: 0.03 at 1 %
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06


@pytest.mark.parametrize(("held", "before"), [(100, 0), (100, 5000), (20, 5000)])
def test_a_real_change_is_noticed_within_a_hundred_images(held: int, before: int) -> None:
    delays = [run(held, before, 100, 2.0, seed)[1] for seed in range(4)]
    assert all(delay is not None and 0 < delay <= 40 for delay in delays)


def test_an_unchanged_stream_raises_no_alarm() -> None:
    assert [run(30, 1500, 0, 0.0, seed)[1] for seed in range(25)] == [None] * 25


def test_the_wealth_does_not_overflow() -> None:
    martingale = ShiftMartingale()
    for _ in range(2000):
        martingale.bet(0.0)
    assert math.isfinite(martingale.wealth)
    for _ in range(2000):
        martingale.bet(1.0)
    assert math.isfinite(martingale.log_peak)
