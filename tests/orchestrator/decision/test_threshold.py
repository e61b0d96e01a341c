"""The threshold that a promised accuracy takes, where images are of groups or labels occur otherwise in use."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.threshold import Threshold, bounded_tails, choose_threshold


def of_groups(probability: list[float], correct: list[bool], groups: list[int]) -> CalibrationSet:
    p, right = np.array(probability), np.array(correct)
    return CalibrationSet(p, right, np.c_[p, 1 - p], (~right).astype(int), np.array(groups))


def test_forty_five_things_are_needed_however_many_images_they_have() -> None:
    for things, least in ((45, 0.9), (44, None)):
        many = of_groups([0.9] * (10 * things), [True] * (10 * things), [number // 10 for number in range(10 * things)])
        assert choose_threshold(many, 0.95, 0.1).probability == least


def test_a_thing_loses_the_share_of_its_settled_images_that_are_wrong() -> None:
    # 60 things of two images; of one, one image is wrong: 0.5 of 60. By Hoeffding exp(-60 KL(0.5/60, 0.1))
    share = 0.5 / 60
    apart = share * math.log(share / 0.1) + (1 - share) * math.log((1 - share) / 0.9)
    bound = math.exp(-60 * apart)
    assert bounded_tails(np.array([0.5]), np.array([60]), 0.1)[0] == pytest.approx(bound)
    things = of_groups([0.9] * 120, [False] + [True] * 119, [number // 2 for number in range(120)])
    assert choose_threshold(things, 0.9, bound * 1.001).probability == 0.9
    assert choose_threshold(things, 0.9, bound * 0.999).probability is None
    assert choose_threshold(things, 0.9, bound * 1.001).accuracy == pytest.approx(1 - share)


def test_each_thing_counts_one_in_the_figures() -> None:
    # a thing with a single settled image, a thing with nine that are not
    two = of_groups([0.95] + [0.5] * 9, [True] + [False] * 9, [0] + [1] * 9)
    threshold = choose_threshold(two, 0.5, 0.5)
    assert threshold == Threshold(0.95, 0.5, 1.0)


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.01, 0.99))
def test_the_bound_is_never_below_the_binomial_tail_that_it_bounds(trials: int, share: float, mean: float) -> None:
    """Of losses in [0, 1] those of 0 and 1 are spread widest."""
    losses = math.floor(share * trials)
    (bound,) = bounded_tails(np.array([float(losses)]), np.array([trials]), mean)
    assert bound >= binom.cdf(losses, trials, mean) - 1e-9
    assert bound <= 1.0


def test_the_promise_is_kept_for_new_things_as_often_as_it_says() -> None:
    # 300 draws of 150 things with four images each, alike within a thing: each is right in 0.7 + 0.3 p of the images
    rng, broken, chosen = np.random.default_rng(1), 0, 0
    for _ in range(300):
        p = np.repeat(rng.random(150), 4)
        skill = np.repeat(rng.random(150), 4)
        known = of_groups(p.tolist(), (skill < 0.7 + 0.3 * p).tolist(), np.repeat(np.arange(150), 4).tolist())
        threshold = choose_threshold(known, 0.9, 0.1, 0.0)
        if threshold.probability is not None:
            chosen += 1
            broken += 0.7 + 0.3 * (1 + threshold.probability) / 2 < 0.9
    assert chosen > 100
    assert broken <= 30 + 3 * 6


def test_image_by_image_the_same_promise_would_be_broken() -> None:
    rng, broken = np.random.default_rng(1), 0
    for _ in range(300):
        p = np.repeat(rng.random(150), 4)
        skill = np.repeat(rng.random(150), 4)
        alone = of_groups(p.tolist(), (skill < 0.7 + 0.3 * p).tolist(), list(range(600)))
        threshold = choose_threshold(alone, 0.9, 0.1, 0.0)
        if threshold.probability is not None:
            broken += 0.7 + 0.3 * (1 + threshold.probability) / 2 < 0.9
    assert broken > 30 + 6  # a chance of 10 % was promised


def test_where_labels_occur_otherwise_in_use_the_promise_is_for_use() -> None:
    # label 1 is right in 70 % of its images, label 0 always. Half and half: 85 %; at 5 % of label 1: 98.5 %
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    wrong = (labels == 1) & (rng.random(1000) < 0.3)
    posterior = np.where((labels == 1) ^ wrong, 0.002, 0.998)
    known = CalibrationSet.of(np.c_[posterior, 1 - posterior], labels)
    assert choose_threshold(known, 0.95, 0.1).probability is None
    shifted = choose_threshold(known.in_use(np.array([0.95, 0.05]), None), 0.95, 0.1)
    assert shifted.probability is not None
    assert shifted.accuracy > 0.97
