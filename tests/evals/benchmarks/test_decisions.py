"""The benchmark of decisions: what it draws is as it says, and its figures are those of hand-made cases."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner

from consilience.evals.benchmarks.decisions import (
    RULES,
    as_now,
    coverage_of,
    drawn,
    drawn_like,
    drawn_twice,
    main,
    pooled_fallback,
    resampled,
)


def test_drawn_posteriors_are_true() -> None:
    posterior, labels = drawn(np.random.default_rng(0), 20000, np.array([0.7, 0.2, 0.1]))
    assert posterior.sum(axis=1) == pytest.approx(1.0)
    for label in range(3):
        assert posterior[:, label].mean() == pytest.approx((labels == label).mean(), abs=0.005)
        near = np.abs(posterior[:, label] - 0.5) < 0.1
        assert (labels[near] == label).mean() == pytest.approx(0.5, abs=0.05)


def test_who_takes_another_mix_is_wrong_by_the_ratio_of_the_shares() -> None:
    mix, balanced = np.array([0.95, 0.05]), np.array([0.5, 0.5])
    true, _ = drawn(np.random.default_rng(0), 10, mix)
    taken, _ = drawn_like(np.random.default_rng(0), 10, mix, balanced)
    odds = true[:, 1] / true[:, 0]
    assert taken[:, 1] / taken[:, 0] == pytest.approx(19 * odds)


def test_before_a_rare_label_was_judged_by_all_and_the_others_by_themselves() -> None:
    labels = np.repeat([0, 1], [200, 10])
    first = np.r_[np.linspace(0.7, 1, 200), np.full(10, 0.9)]
    posterior = np.c_[first, 1 - first]
    before, now = pooled_fallback(posterior, labels, 0.95), as_now(posterior, labels, 0.95)
    own = np.sort(first[:200])[9]  # 0.05 * 201 = 10.05
    pooled = np.sort(np.r_[first[:200], np.full(10, 0.1)])[9]  # 0.05 * 211 = 10.55
    assert before.least == pytest.approx([own, pooled])
    assert now.least == pytest.approx([pooled, pooled])


def test_mixed_coverage_is_kept_now_and_was_not_before() -> None:
    draw = partial(drawn_twice, np.array([0.6, 0.34, 0.03, 0.03]), 600)
    before, now = (coverage_of(draw, 60, 0.95, rule) for rule in RULES)
    assert before["all"] is not None
    assert now["all"] is not None
    assert before["all"] < 0.945
    assert now["all"] >= 0.949
    assert now["promised"] is not None
    assert now["promised"] >= 0.949


def test_labels_are_resampled_in_the_shares_of_a_mix() -> None:
    labels = np.repeat([0, 1], 300)
    posterior = np.tile([0.6, 0.4], (600, 1))
    (known, truth), (new, fresh) = resampled(posterior, labels, np.array([0.9, 0.1]), 0)
    both = np.r_[truth, fresh]
    assert (both == 1).mean() == pytest.approx(0.1, abs=0.01)
    assert len(truth) == pytest.approx(2 * len(fresh), abs=2)
    assert known[0] == pytest.approx(new[0])
    assert known[0, 0] == pytest.approx(0.6 * 0.9 / (0.6 * 0.9 + 0.4 * 0.1))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["rare", "--draws", "2", "--images", "200"], "two of 3 %: now"),
        (["frequencies", "--draws", "2"], "the estimate was used in 2 of 2 draws"),
        (["costs", "--draws", "2"], "500 if always"),
    ],
)
def test_the_commands_say_their_figures(command: list[str], words: str) -> None:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert words in result.output
