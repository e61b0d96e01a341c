"""What a word is worth in use: Bayes' rule by hand, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.orchestrator.decision.settling import worth_words
from consilience.orchestrator.in_use.worth import worth_of


def test_at_five_percent_a_word_that_is_98_percent_right_here_is_right_in_two_of_three() -> None:
    # 100 healthy, 2 of them settled as scab; 100 scab, 98 of them settled as scab
    labels = np.repeat([0, 1], 100)
    named = np.r_[np.zeros(98, int), np.ones(2, int), np.zeros(2, int), np.ones(98, int)]
    settled, alone = np.ones(200, bool), np.arange(200)
    here = worth_of(labels, named, settled, alone, np.array([0.5, 0.5]))[1]
    there = worth_of(labels, named, settled, alone, np.array([0.95, 0.05]))[1]
    assert here.right == pytest.approx(0.98)
    assert there.right == pytest.approx(0.05 * 0.98 / (0.05 * 0.98 + 0.95 * 0.02))
    assert (there.settled, there.share) == (100, 0.05)
    assert there.found == pytest.approx(0.98)
    assert there.right is not None
    assert there.low < there.right < there.high
    assert there.high - there.low > here.high - here.low
    [_, words] = worth_words(("healthy", "scab"), worth_of(labels, named, settled, alone, np.array([0.95, 0.05])))
    assert words.startswith("At 5.0 % scab, 72.1 % of those settled as scab are (")


def test_no_mistake_in_few_images_is_no_certainty_and_no_image_is_nothing() -> None:
    labels = np.repeat([0, 1], 20)
    none, all_right = worth_of(labels, labels, labels == 1, np.arange(40), np.array([0.95, 0.05]))
    assert (none.right, none.settled, none.low, none.high) == (None, 0, 0.0, 1.0)
    assert all_right.right == 1.0
    assert all_right.low < 0.6
    many = worth_of(
        np.repeat(labels, 50), np.repeat(labels, 50), np.repeat(labels == 1, 50), np.arange(2000), all_shares()
    )
    assert many[1].low > 0.9


def all_shares() -> np.ndarray:
    return np.array([0.95, 0.05])


def test_each_group_counts_one() -> None:
    # label 1 is shown by a thing with nine images, all found, and a thing with one, which is not
    labels = np.r_[np.zeros(5, int), np.ones(10, int)]
    named = np.r_[np.zeros(5, int), np.ones(9, int), 0]
    groups = np.r_[np.arange(5), np.full(9, 5), 6]
    worth = worth_of(labels, named, np.ones(15, bool), groups, np.array([0.5, 0.5]))
    assert worth[1].found == pytest.approx(0.5)
    assert worth[0].right == pytest.approx(0.5 / (0.5 + 0.5 * 0.5))


def test_the_interval_holds_the_worth_in_95_of_100_draws() -> None:
    rng, shares, held = np.random.default_rng(0), np.array([0.9, 0.1]), 0
    hit, mistake = 0.9, 0.03
    true = 0.1 * hit / (0.1 * hit + 0.9 * mistake)
    for _ in range(300):
        labels = np.repeat([0, 1], 150)
        named = (rng.random(300) < np.where(labels == 1, hit, mistake)).astype(int)
        worth = worth_of(labels, named, np.ones(300, bool), np.arange(300), shares)[1]
        held += worth.low <= true <= worth.high
    assert held / 300 > 0.92
