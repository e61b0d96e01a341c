"""What a panel claims of new images: each group weighs one, and thresholds come from other groups."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.claim import accuracy_of_as_many_groups, claim_of
from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.in_use.costs import Costs


def calibration_set(correct: np.ndarray, groups: np.ndarray, surety: float = 0.99) -> CalibrationSet:
    """Of images of two labels in turn, each named with the same posterior, rightly or not."""
    labels = np.arange(len(correct)) % 2
    named = np.where(correct, labels, 1 - labels)
    posterior = np.full((len(correct), 2), 1 - surety)
    posterior[np.arange(len(correct)), named] = surety
    return CalibrationSet.of(posterior, labels, groups)


def test_each_group_weighs_one() -> None:
    correct = np.array([True] * 8 + [False] * 2)
    groups = np.array([0] * 8 + [1, 1])
    claim = claim_of(calibration_set(correct, groups), PolicySettings(), Grouping("given", "parent"), 0.8)
    assert claim is not None
    assert claim.accuracy == pytest.approx(0.5)  # one thing right, one wrong; of the images, 80 %
    assert (claim.images, claim.groups, claim.grouping, claim.ungrouped_accuracy) == (10, 2, "given", 0.8)
    assert claim.settled == 0.0  # two things support no promise
    assert claim.settled_accuracy is None
    assert claim.coverage == 1.0  # nothing can be excluded


def test_the_interval_is_students_for_another_set_of_as_many_groups() -> None:
    correct, groups = np.arange(120) % 10 != 0, np.arange(120) // 3
    low, high = accuracy_of_as_many_groups(correct, groups)
    shares = np.r_[correct.reshape(40, 3).mean(axis=1), 0, 1]
    half = scipy.stats.t.ppf(0.975, 41) * shares.std(ddof=1) * np.sqrt(2 / 42)
    assert (low, high) == pytest.approx((shares.mean() - half, min(1.0, shares.mean() + half)), abs=2e-3)


def test_groups_without_a_mistake_are_no_certainty() -> None:
    low, high = accuracy_of_as_many_groups(np.ones(30, bool), np.arange(30))
    assert 0.8 < low < 0.95
    assert high == 1.0
    many = accuracy_of_as_many_groups(np.ones(3000, bool), np.repeat(np.arange(30), 100))
    assert many == pytest.approx((low, high))


def test_the_interval_holds_the_accuracy_of_other_groups() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        skill = rng.beta(4, 1, size=(2, 40))  # of each thing: some are always wrong
        known, new = (rng.random((40, 6)) < chances[:, None] for chances in skill)
        low, high = accuracy_of_as_many_groups(known.ravel(), np.repeat(np.arange(40), 6))
        held += low <= new.mean() <= high
    assert held / 400 >= 0.93


def test_settled_shares_and_coverage_are_judged_by_thresholds_of_other_images() -> None:
    rng = np.random.default_rng(1)
    correct = rng.random(1000) < 0.9
    sure = np.where(correct, rng.uniform(0.9, 1.0, 1000), rng.uniform(0.5, 0.7, 1000))
    labels = np.arange(1000) % 2
    posterior = np.where(correct, sure, 1 - sure)
    both = np.where(labels[:, None] == [0, 1], posterior[:, None], 1 - posterior[:, None])
    claim = claim_of(CalibrationSet.of(both, labels), PolicySettings())
    assert claim is not None
    assert claim.coverage == pytest.approx(0.95, abs=0.01)
    assert claim.settled_accuracy == 1.0
    assert claim.settled > 0.8
    assert claim.ungrouped_accuracy is None


def test_nothing_is_claimed_where_nothing_was_judged() -> None:
    assert claim_of(CalibrationSet.none(), PolicySettings()) is None


def test_a_claim_is_for_the_frequencies_in_use() -> None:
    # 60 images of label 0, all right, and 60 of label 1, of which 30 are: 75 % here, 97.5 % where label 1 has 5 %
    labels = np.repeat([0, 1], 60)
    posterior = np.tile([0.9, 0.1], (120, 1))
    posterior[90:] = [0.0001, 0.9999]
    known = CalibrationSet.of(posterior, labels)
    here, there = (claim_of(part, PolicySettings()) for part in (known, known.in_use(np.array([0.95, 0.05]), None)))
    assert here is not None
    assert there is not None
    assert here.accuracy == pytest.approx(0.75)
    assert there.accuracy == pytest.approx(0.95 + 0.05 * 0.5)
    assert there.interval[0] < there.accuracy < there.interval[1]


def test_a_claim_follows_costs() -> None:
    posterior = np.tile([[0.7, 0.3], [0.99, 0.01]], (50, 1))
    labels = np.tile([1, 0], 50)
    known = CalibrationSet.of(posterior, labels).in_use(None, Costs(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.2))
    claim = claim_of(known, PolicySettings())
    assert claim is not None
    assert (claim.settled, claim.settled_accuracy) == (0.5, 1.0)  # the others are expected to cost 0.3
