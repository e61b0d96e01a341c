"""The test of a batch: its level, its power, groups, labelled images, and when too few images are there to tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.two_sample import ALARM_P, compared, mean_rank_and_p, sampled

Drawn = Callable[..., np.ndarray]
Make = Callable[..., ShiftReference]


def test_the_p_value_of_small_samples_is_that_of_all_ways_to_share_out_the_scores() -> None:
    new, held = np.array([0.9, 2.0, 3.5]), np.array([0.1, 1.0, 1.5, 3.0])
    both = np.r_[new, held]

    def above(chosen: tuple[int, ...]) -> int:
        others = [place for place in range(7) if place not in chosen]
        return sum(both[a] > both[b] for a in chosen for b in others)

    ways = [above(chosen) for chosen in combinations(range(7), 3)]
    rank, p = mean_rank_and_p(new, held)
    assert rank == pytest.approx(above((0, 1, 2)) / 12)
    assert p == pytest.approx(np.mean(np.array(ways) >= above((0, 1, 2))))


def test_equal_scores_are_no_evidence() -> None:
    rank, p = mean_rank_and_p(np.ones(50), np.ones(40))
    assert rank == 0.5
    assert p >= 0.4


@pytest.mark.parametrize("images", [12, 100])
def test_the_same_source_raises_no_alarm(images: int, drawn: Drawn, make_reference: Make) -> None:
    """Over 40 panels and 5 batches each; and the p-values are not too small anywhere."""
    p_values = []
    for seed in range(40):
        reference = make_reference(drawn(120, seed))
        shifts = [compared(reference, drawn(images, 1000 * (seed + 1) + batch)) for batch in range(5)]
        assert not any(shift.alarm for shift in shifts)
        p_values += [shift.p for shift in shifts]
    assert np.mean(np.array(p_values) < 0.1) < 0.17
    assert 0.4 < np.mean(np.array(p_values)) < 0.65


def test_another_source_raises_one(reference: ShiftReference, drawn: Drawn) -> None:
    shift = compared(reference, drawn(100, 1, away=1.0))
    assert shift.alarm
    assert shift.p is not None
    assert shift.p < 1e-16
    assert shift.mean_rank is not None
    assert shift.mean_rank > 0.95
    assert shift.to_dict()["alarm"] is True


def test_pictures_of_one_thing_count_once(reference: ShiftReference, drawn: Drawn) -> None:
    """Ninety nearly equal pictures of one odd thing are no other source."""
    burst = np.repeat(drawn(1, 2, away=2.0), 90, axis=0) + 1e-4 * np.random.default_rng(0).standard_normal((90, 24))
    burst /= np.linalg.norm(burst, axis=1, keepdims=True)
    shift = compared(reference, np.concatenate([burst.astype(np.float32), drawn(30, 3)]))
    assert shift.images == 120
    assert shift.counted <= 31
    assert not shift.alarm
    as_given = compared(reference, burst.astype(np.float32), groups=["one"] * 90)
    assert as_given.counted == 1
    assert as_given.p is None


def test_where_people_grouped_the_labelled_images_so_many_new_ones_are_one_thing(
    drawn: Drawn, make_reference: Make
) -> None:
    vectors = drawn(300, 4)
    reference = make_reference(vectors, [f"part {row // 10}" for row in range(300)], Grouping("given", "x"))
    new = drawn(100, 5, away=1.0)
    assert compared(reference, new).counted == 10
    assert compared(reference, new, groups=[f"new {row}" for row in range(100)]).counted == 100


def test_labelled_images_among_the_new_say_nothing(reference: ShiftReference, drawn: Drawn) -> None:
    vectors = drawn(40, 6, away=1.0)
    ids = [f"labelled {row}" for row in range(35)] + [f"new {row}" for row in range(5)]
    shift = compared(reference, vectors, ids)
    assert shift.counted == 5
    assert shift.p is None
    assert not shift.alarm


def test_too_few_images_are_said_to_be_too_few(drawn: Drawn, make_reference: Make) -> None:
    reference = make_reference(drawn(300, 7))
    assert compared(reference, drawn(9, 8, away=1.0)).p is None
    assert compared(reference, drawn(10, 8, away=1.0)).alarm
    assert compared(reference, np.empty((0, 24), np.float32)).p is None
    assert compared(make_reference(drawn(9, 7)), drawn(10, 8, away=1.0)).p is None  # 3 held out
    assert compared(make_reference(drawn(12, 7)), drawn(10, 8, away=1.0)).p is not None  # 4 held out: 1 / 1,001
    assert math.comb(13, 3) * ALARM_P < 1 < math.comb(14, 4) * ALARM_P


def test_a_sample_is_fixed_and_within_the_batch() -> None:
    assert sampled(5).tolist() == [0, 1, 2, 3, 4]
    rows = sampled(10_000)
    assert len(np.unique(rows)) == 200
    assert rows.max() < 10_000
    assert (rows == sampled(10_000)).all()
