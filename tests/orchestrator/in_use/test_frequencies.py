"""Frequencies in use: given, and estimated by expectation maximisation; what follows is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.errors import SettingsError
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.settling import settles
from consilience.orchestrator.ensemble.fusion import Fusion, with_prior
from consilience.orchestrator.in_use.frequencies import estimate, estimated_shares, shares_in_use, shares_of

NAMES = ("healthy", "scab")


def test_given_shares_stand_in_the_order_of_the_labels() -> None:
    assert shares_in_use({"scab": 0.05, "healthy": 0.95}, NAMES, [10, 10]).tolist() == [0.95, 0.05]
    assert shares_in_use({"scab": 0.0, "healthy": 1.0}, NAMES, [10, 0]).tolist() == [1.0, 0.0]  # no image shows scab


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"healthy": 1.0}, r"decision.frequencies has no share for 'scab': give each label one"),
        ({"healthy": 0.5, "scrab": 0.5}, r"'scrab', which is no label \(the nearest is scab\)"),
        ({"healthy": 1.0, "scab": 0.0}, r"says 0 for 'scab', which 7 labelled images show"),
    ],
)
def test_shares_that_do_not_fit_the_labels_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        shares_in_use(shares, NAMES, [9, 7])


def test_the_posterior_follows_by_bayes_rule() -> None:
    # half and half here, 19 to 1 in use: odds of 1 : 3 become 19 : 3
    known = CalibrationSet.of(np.array([[0.25, 0.75], [0.02, 0.98]]), np.array([0, 1]))
    there = known.in_use(np.array([0.95, 0.05]), None)
    assert there.ratio == pytest.approx([1.9, 0.1])
    assert there.posterior[0] == pytest.approx([19 / 22, 3 / 22])
    assert there.named.tolist() == [0, 1]
    assert there.probability == pytest.approx([19 / 22, 0.098 / (0.098 + 0.038)])
    assert there.correct.tolist() == [True, True]
    fused, _ = Fusion(np.ones(1), ratio=there.ratio).posterior(known.posterior[None])
    assert fused == pytest.approx(there.posterior)


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.lists(st.floats(0.05, 1), min_size=3, max_size=3))
def test_there_and_back_the_posterior_is_as_it_was(shares: list[float], posterior: list[float]) -> None:
    ratio, rows = np.array(shares), np.array([posterior]) / sum(posterior)
    assert with_prior(1 / ratio, with_prior(ratio, rows)) == pytest.approx(rows)


def test_figures_follow_the_shares_and_each_group_counts_one() -> None:
    # label 0: a thing with three images, all right; label 1: one right, one wrong. Here: (1 + 1 + 0) / 3 things
    posterior = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9], [0.9, 0.1]])
    known = CalibrationSet.of(posterior, np.array([0, 0, 0, 1, 1]), np.array([5, 5, 5, 6, 7]))
    everything = np.ones(5, bool)
    assert known.figures(everything) == pytest.approx((1.0, 2 / 3))
    assert known.unit == "things"
    assert known.n_groups == 3
    there = known.in_use(np.array([0.9, 0.1]), None)
    weights = there.weights / there.weights.sum()
    assert weights == pytest.approx([0.3, 0.3, 0.3, 0.05, 0.05])  # 90 % among the things of label 0
    assert known.figures(np.zeros(5, bool)) == (0.0, 0.0)


def test_sets_of_a_label_with_enough_images_cover_it_at_any_frequency() -> None:
    """By label nothing changes but the scale: what is excluded is the same."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 150)
    first = np.where(labels == 0, rng.beta(6, 2, 300), rng.beta(2, 6, 300))
    known = CalibrationSet.of(np.c_[first, 1 - first], labels)
    there = known.in_use(np.array([0.95, 0.05]), None)
    here_left, there_left = (part.sets(0.9).of(part.posterior) for part in (known, there))
    assert np.array_equal(here_left, there_left)


def mixture(rng: np.random.Generator, n: int, mix: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images in the shares of a mix, with the posteriors of who takes the prior for it."""
    labels = rng.choice(len(mix), n, p=mix)
    vectors = rng.normal(size=(n, len(mix)))
    vectors[np.arange(n), labels] += 2.0
    likelihood = np.exp(2.0 * vectors)
    return likelihood * prior / (likelihood * prior).sum(axis=1, keepdims=True), labels


def test_the_estimate_is_the_shares_of_greatest_likelihood() -> None:
    rng, own = np.random.default_rng(0), np.array([0.5, 0.5])
    posterior, _ = mixture(rng, 400, np.array([0.8, 0.2]), own)
    [[first, _]] = estimated_shares(posterior, own, np.ones((1, 400)))
    grid = np.linspace(0.001, 0.999, 999)
    likelihood = np.log(posterior[:, :1] / 0.5 * grid + posterior[:, 1:] / 0.5 * (1 - grid)).sum(axis=0)
    assert first == pytest.approx(grid[likelihood.argmax()], abs=0.004)


def test_images_that_say_their_label_for_certain_are_counted() -> None:
    posterior = np.repeat(np.array([[1 - 1e-9, 1e-9], [1e-9, 1 - 1e-9]]), (30, 10), axis=0)
    [shares] = estimated_shares(posterior, np.array([0.5, 0.5]), np.ones((1, 40)))
    assert shares == pytest.approx([30.5 / 41, 10.5 / 41], abs=1e-4)  # and half an image for each


def test_another_mix_is_noticed_and_the_own_one_left_alone() -> None:
    own, rare = np.array([0.5, 0.5]), np.array([0.95, 0.05])
    used, inside = {"own": 0, "rare": 0}, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        known, labels = mixture(rng, 400, own, own)
        for name, mix in (("own", own), ("rare", rare)):
            posterior, _ = mixture(rng, 300, mix, own)
            shares = estimate(NAMES, posterior, known, labels, np.arange(400))
            used[name] += shares.is_used
            if name == "rare":
                inside += bool((shares.low <= mix).all() and (mix <= shares.high).all())
                assert shares.frequencies is None or sum(shares.frequencies.values()) == pytest.approx(1.0)
    assert used["rare"] == 40
    assert used["own"] <= 2
    assert inside >= 38


def test_no_images_say_nothing() -> None:
    own = np.array([[0.5, 0.5]] * 4)
    shares = estimate(NAMES, np.empty((0, 2)), own, np.array([0, 0, 0, 1]), np.arange(4))
    assert not shares.is_used
    assert shares.frequencies is None
    assert shares.to_dict()["labels"]["scab"] == {"share": 0.25, "low": 0.0, "high": 1.0, "own": 0.25}


def test_a_label_without_labelled_images_is_rare_but_not_impossible() -> None:
    assert shares_of(np.array([0, 0, 0, 1]), 3).tolist() == pytest.approx([3 / 4.5, 1 / 4.5, 0.5 / 4.5])


def test_given_shares_repair_the_calibration_and_what_is_settled() -> None:
    """Half and half among the labelled images, 5 % in use."""
    rng, own, rare = np.random.default_rng(0), np.array([0.5, 0.5]), np.array([0.95, 0.05])
    known = CalibrationSet.of(*mixture(rng, 2000, own, own))
    posterior, labels = mixture(rng, 20000, rare, own)
    wrong = {}
    for name, shares in (("none", None), ("given", rare)):
        there = known.in_use(shares, None)
        new = CalibrationSet.of(with_prior(there.ratio, posterior), labels)
        settled = new.settled_by(there.sets(0.95))
        as_scab = settled & (new.named == 1)
        wrong[name] = 1 - new.correct[as_scab].mean()
        assert abs(new.probability.mean() - new.correct.mean()) < (0.1 if name == "none" else 0.005)
        if name == "given":
            worth = settles(PolicySettings(), there).worths[1]
            assert worth.right is not None
            assert worth.low <= new.correct[as_scab].mean() <= worth.high
    assert wrong["given"] < wrong["none"] / 2
