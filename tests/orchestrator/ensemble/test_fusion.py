"""The pool of calibrated words: values by hand, closed forms, a general solver, and what must not change it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from consilience.agents.base import one_hot, softmax
from consilience.core.trust import Trust
from consilience.orchestrator.ensemble.dirichlet import label_shares
from consilience.orchestrator.ensemble.error_covariance import (
    PRIOR_IMAGES,
    ErrorPrior,
    apart,
    error_covariance,
    min_variance_weights,
)
from consilience.orchestrator.ensemble.fusion import Fusion, cap_confidence, starting_weight
from consilience.orchestrator.ensemble.pool_weights import error_correlation, expected_weights, without_the_missing


def words(labels: np.ndarray, agents: int, seed: int = 0, c: int = 3, skill: float = 1.5) -> np.ndarray:
    """Honest probabilities (a, n, c) of agents that each see the label through their own noise of deviation 1."""
    noise = np.random.default_rng(seed).standard_normal((agents, len(labels), c))
    return np.stack([softmax(skill * (skill * np.eye(c)[labels] + own_noise)) for own_noise in noise])


def some_labels(n: int, c: int = 3, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, c, n)


def one_source(looks: int) -> ErrorPrior:
    """Looks at the same features, of which nothing is known."""
    return replace(ErrorPrior.none(looks), sources=np.zeros(looks, np.intp))


def trust(ece: float, ocr: float, ccc: float) -> Trust:
    return Trust("agent", "first", 100, ece, ocr, ccc)


@pytest.mark.parametrize(
    ("ocr", "ccc", "weight"),
    [(0, 1, 1), (0, 0, 0.5), (0, -1, 0.5), (1, 1, 0), (0.5, 0, 0.25), (0.2, 0.5, 0.6), (0.5078125, 0.1262, 0.27715)],
)
def test_the_weight_from_summary_numbers(ocr: float, ccc: float, weight: float) -> None:
    assert starting_weight(trust(0.3, ocr, ccc)) == pytest.approx(weight, abs=1e-4)


def test_a_pool_from_summary_numbers_by_hand() -> None:
    fusion = Fusion.from_trust([trust(0, 0, 1), trust(0, 0.2, 0.5)])  # weights 1 and 0.6
    posterior, weights = fusion.posterior(np.array([[[0.8, 0.2]], [[0.3, 0.7]]]))
    first, second = 0.8 * 0.3**0.6, 0.2 * 0.7**0.6
    np.testing.assert_allclose(posterior, [[first / (first + second), second / (first + second)]])
    np.testing.assert_allclose(weights, [[1.0, 0.6]])


def test_summary_numbers_know_of_no_dependence_and_drop_who_is_missing() -> None:
    fusion = Fusion.from_trust([trust(0, 0, 1), trust(0, 0.2, 0.5)])
    _, weights = fusion.posterior(np.array([[[0.8, 0.2]], [[np.nan, np.nan]]]))
    np.testing.assert_allclose(weights, [[1.0, 0.0]])


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_a_single_member_is_taken_at_its_word_up_to_the_ceiling(sharpness: float) -> None:
    labels = some_labels(50)
    claimed = softmax(sharpness * np.log(words(labels, 1)[0]))[None]
    fusion = Fusion.from_predictions(claimed, labels)
    posterior, weights = fusion.posterior(claimed)
    np.testing.assert_allclose(posterior, cap_confidence(fusion.ceiling, claimed[0]), atol=1e-5)
    assert (weights == 1).all()


def test_the_error_covariance_by_hand() -> None:
    silent = [np.nan, np.nan]
    predictions = np.array([[[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]], [[0.6, 0.4], [0.9, 0.1], silent]])
    # errors of the label 0 (those of 1 are their negatives): -0.2, 0.4, -0.5 and -0.4, 0.9, silent
    first_variance, other, both = 2 * (0.04 + 0.16 + 0.25), 2 * (0.16 + 0.81), 2 * (0.2 * 0.4 + 0.4 * 0.9)
    prior = PRIOR_IMAGES * (first_variance + other) / 5  # five answers in all
    p = PRIOR_IMAGES
    expected = [[(first_variance + prior) / (3 + p), both / (2 + p)], [both / (2 + p), (other + prior) / (2 + p)]]
    np.testing.assert_allclose(error_covariance(predictions, np.array([0, 1, 0]), ErrorPrior.none(2)), expected)


def test_the_belief_about_two_is_worth_what_it_is_about_the_better_known_and_takes_its_factor_from_those() -> None:
    """Three images, errors of the label 0 (those of 1 are their negatives): -0.2, 0.4, -0.5 and -0.4, 0.9, -0.6."""
    predictions = np.array([[[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]], [[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]])
    first_variance, other, both = 0.9, 2.66, 2 * (0.08 + 0.36 + 0.3)
    belief = ErrorPrior(np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([50, 10]), np.zeros(2, np.intp))
    known, usual = first_variance / 3, (first_variance + other) / 6
    common = (both + 50 * 0.8 * np.sqrt(known * usual)) / 53
    expected = [[(first_variance + 50 * known) / 53, common], [common, (other + 10 * usual) / 13]]
    np.testing.assert_allclose(error_covariance(predictions, np.array([0, 1, 0]), belief), expected)


def test_who_hardly_ever_answered_does_not_take_over() -> None:
    labels = some_labels(200)
    predictions = words(labels, 3)
    predictions[0, 1:] = np.nan
    predictions[0, 0] = np.eye(3)[labels[0]]  # one answer, right and certain
    _, weights = Fusion.from_predictions(predictions, labels).posterior(words(labels, 3))
    assert 0.2 < weights[0, 0] / weights[0].sum() < 0.6


@pytest.mark.parametrize(
    ("variance", "other", "both"), [(1.0, 3.0, 0.0), (0.2, 0.1, 0.05), (0.5, 0.5, 0.4), (2, 1, -0.5)]
)
def test_shares_of_two_have_the_closed_form_of_bates_and_granger(variance: float, other: float, both: float) -> None:
    expected = (other - both) / (variance + other - 2 * both)
    assert min_variance_weights(np.array([[variance, both], [both, other]])) == pytest.approx(
        [expected, 1 - expected], abs=1e-6
    )


def test_who_only_repeats_a_better_one_gets_no_share() -> None:
    assert min_variance_weights(np.array([[1.0, 1.5], [1.5, 4.0]])) == pytest.approx([1.0, 0.0], abs=1e-6)
    assert min_variance_weights(np.array([[0.3]])).tolist() == [1.0]
    assert min_variance_weights(np.zeros((3, 3))) == pytest.approx([1 / 3] * 3)


@given(st.integers(2, 6).flatmap(lambda n: arrays(np.float64, (n + 2, n), elements=st.floats(-1, 1))))
def test_shares_agree_with_a_general_solver(errors: np.ndarray) -> None:
    n = errors.shape[1]
    covariance = errors.T @ errors / len(errors) + 1e-3 * np.eye(n)
    weights = min_variance_weights(covariance)
    best = minimize(
        lambda w: w @ covariance @ w,
        np.full(n, 1 / n),
        jac=lambda w: 2 * covariance @ w,
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(n)},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert weights @ covariance @ weights <= best.fun * (1 + 1e-4)


def test_weights_of_two_members_follow_from_their_errors() -> None:
    labels = some_labels(400)
    good, poor = words(labels, 1, 0, skill=2.0)[0], words(labels, 1, 1, skill=0.8)[0]
    errors = [(probabilities - np.eye(3)[labels]).ravel() for probabilities in (good, poor)]
    usual = sum(e @ e for e in errors) / 800
    a, b = (e @ e + PRIOR_IMAGES * usual for e in errors)
    both = errors[0] @ errors[1]
    fusion = Fusion.from_predictions(np.stack([good, poor]), labels, prior=one_source(2))
    _, weights = fusion.posterior(np.stack([good, poor]))
    assert weights[0, 0] / weights[0].sum() == pytest.approx(max(min((b - both) / (a + b - 2 * both), 1), 0), abs=1e-5)
    assert weights[0, 0] > weights[0, 1]


def test_an_agent_that_is_there_twice_hardly_counts_for_more() -> None:
    labels = some_labels(3000)
    predictions = words(labels, 2)
    once_posterior, once = Fusion.from_predictions(predictions, labels).posterior(predictions)
    twice_posterior, doubled = Fusion.from_predictions(predictions[[0, 0, 1]], labels).posterior(predictions[[0, 0, 1]])
    np.testing.assert_allclose(twice_posterior, once_posterior, atol=0.05)
    assert doubled[0, 0] == pytest.approx(doubled[0, 1], abs=1e-3)
    assert doubled[0, :2].sum() == pytest.approx(once[0, 0], rel=0.1)


@pytest.mark.parametrize("n", [2, 8, 3000])
def test_within_a_source_few_labels_change_little_and_many_decide(n: int) -> None:
    labels = some_labels(n)
    predictions = np.stack([words(labels, 1, 0, skill=2.0)[0], words(labels, 1, 1, skill=0.8)[0]])
    _, weights = Fusion.from_predictions(predictions, labels, prior=one_source(2)).posterior(predictions)
    share = weights[0, 0] / weights[0].sum()
    assert share == pytest.approx(0.5, abs=0.15) if n < 10 else share > 0.85


@pytest.mark.parametrize("n", [20, 200, 3000])
def test_independent_agents_of_unequal_skill_count_in_full(n: int) -> None:
    """By Bayes' rule their evidence adds up: nothing is better than weights of 1."""
    labels = some_labels(n + 3000)
    predictions = np.stack([words(labels, 1, seed, skill=skill)[0] for seed, skill in enumerate((0.7, 1.1, 1.6))])
    fusion = Fusion.from_predictions(predictions[:, :n], labels[:n])
    posterior, weights = fusion.posterior(predictions[:, n:])
    ideal = softmax(np.log(predictions[:, n:]).sum(axis=0))
    right = (posterior.argmax(axis=1) == labels[n:]).mean()
    assert right >= (ideal.argmax(axis=1) == labels[n:]).mean() - {20: 0.035, 200: 0.01, 3000: 0.003}[n]
    assert right > max((member.argmax(axis=1) == labels).mean() for member in predictions) + 0.03
    if n == 3000:
        assert weights[0] == pytest.approx([1, 1, 1], abs=0.12)


def test_copies_share_the_weight_of_one() -> None:
    labels = some_labels(1000)
    copies = words(labels, 1, skill=1.0)[[0, 0, 0, 0]]
    posterior, weights = Fusion.from_predictions(copies, labels).posterior(copies)
    assert weights[0] == pytest.approx([0.25] * 4, abs=0.03)
    np.testing.assert_allclose(posterior, copies[0], atol=0.05)


def test_the_less_is_common_to_the_errors_the_further_the_sum_of_the_weights_of_a_source_may_go() -> None:
    """Near 1 the likelihood is as good as quadratic, and the sum goes as far as the variance of its prior."""
    predictions, labels = words(some_labels(6), 4, skill=0.7), some_labels(6)

    def log_total(common: float) -> float:
        belief = replace(one_source(4), covariance=np.full((4, 4), common) + (1 - common) * np.eye(4))
        shared = np.outer([1, 2, 3, 4], [1, 2, 3, 4]) * belief.covariance  # how good they are does not matter here
        assert apart(shared) == pytest.approx(1 - common)
        weights = Fusion.from_predictions(predictions, labels, prior=belief).weights(np.ones((1, 4), bool))
        return float(np.log(weights.sum()))

    assert log_total(0.99) / log_total(0.9) == pytest.approx(0.1, rel=0.15)
    assert abs(log_total(0.9)) < abs(log_total(0.5)) < abs(log_total(0.0))


def second_looks_of(agents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, ErrorPrior]:
    """First looks of agents, then their second looks, who have all seen the answer of the last agent."""
    labels = some_labels(800)
    first = words(labels, agents, skill=1.0)
    again = softmax(0.3 * np.log(first[:-1]) + 0.9 * np.log(first[-1]))
    predictions = np.concatenate([first, again])
    spoken = np.where((np.arange(len(predictions)) < agents)[:, None, None], predictions, np.nan)
    sources = np.r_[np.arange(agents), np.arange(agents - 1)]
    return predictions, spoken, labels, replace(ErrorPrior.none(len(predictions)), sources=sources)


def test_second_looks_change_no_weight_of_a_first_look_and_are_no_fresh_witness() -> None:
    predictions, spoken, labels, prior = second_looks_of(3)
    fusion = Fusion.from_predictions(predictions, labels, spoken, prior)
    first = np.array([[True, True, True, False, False]])
    alone = Fusion.from_predictions(predictions[:3], labels).weights(np.ones((1, 3), bool))
    np.testing.assert_allclose(fusion.weights(first)[:, :3], alone, atol=1e-4)
    weights = fusion.weights(np.array([[False, False, True, True, True]]))[0]
    assert weights[3:].max() < fusion.weights(first)[0, :2].min()  # most of what they say was counted already
    assert weights[:2].tolist() == [0, 0]


def test_the_weights_of_independent_sources_by_hand_where_images_tell_nothing() -> None:
    even = np.full((2, 30, 2), 0.5)
    fusion = Fusion.from_predictions(even, np.arange(30) % 2)
    assert fusion.weights(np.ones((1, 2), bool))[0] == pytest.approx([1, 1], abs=1e-4)


def test_the_prior_of_the_labels_is_counted_once() -> None:
    """Five agents know no more than that one label is four times as frequent as the other."""
    labels = np.r_[np.zeros(400, int), np.ones(100, int)]
    knowing_nothing = np.tile([0.8, 0.2], (5, 500, 1))
    posterior, _ = Fusion.from_predictions(knowing_nothing, labels).posterior(knowing_nothing)
    np.testing.assert_allclose(posterior[:, 0], 0.8, atol=0.03)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test_expected_weights_agree_with_a_general_solver(correlation: float) -> None:
    spread = np.array([0.4, 0.9, 1.0, 1.7])
    covariance = ((1 - correlation) * np.eye(4) + correlation) * np.outer(spread, spread)
    best = minimize(
        lambda w: w @ covariance @ w / 2 - np.diag(covariance) @ w, np.full(4, 0.5), bounds=[(0, None)] * 4, tol=1e-12
    )
    assert expected_weights(spread, correlation) == pytest.approx(best.x, abs=1e-4)


def test_who_speaks_stands_in_for_the_missing_as_far_as_they_say_the_same() -> None:
    """With all others missing, C_ss^-1 C_sm w_m makes up the weights of the discriminant of those who are there."""
    spread, correlation = np.array([0.8, 1.0, 1.3]), 0.4
    whole = expected_weights(spread, correlation)
    left = without_the_missing(whole[None], whole, spread, correlation, np.array([[True, True, False]]))[0]
    assert left == pytest.approx([*expected_weights(spread[:2], correlation), 0.0])
    alone = without_the_missing(whole[None], whole, spread, correlation, np.array([[False, True, False]]))[0]
    assert alone.tolist() == [0, 1, 0]
    assert without_the_missing(whole[None], whole, spread, 0.0, np.array([[True, True, False]]))[0, 0] == whole[0]


def test_a_row_is_weighed_alike_alone_and_among_others_and_when_its_weights_are_known_already() -> None:
    labels = some_labels(200)
    fusion = Fusion.from_predictions(words(labels, 4), labels)
    present = np.random.default_rng(2).random((50, 4)) < 0.6
    together = fusion.weights(present)
    anew = replace(fusion)  # knows none yet
    np.testing.assert_array_equal(np.concatenate([anew.weights(row[None]) for row in present]), together)
    np.testing.assert_array_equal(fusion.weights(present[::-1]), together[::-1])
    assert fusion.weights(present[:0]).shape == (0, 4)


def test_the_correlation_of_errors_is_that_beside_the_truth() -> None:
    rng, labels = np.random.default_rng(0), some_labels(4000)
    shared, own = rng.standard_normal((4000, 3)), rng.standard_normal((2, 4000, 3))
    for common in (0.0, 0.5):
        noise = np.sqrt(common) * shared + np.sqrt(1 - common) * own
        found = error_correlation(2 * np.eye(3)[labels] + noise, np.ones((2, 4000), bool), labels, 4000)
        assert found == pytest.approx(common, abs=0.03)


def test_who_is_missing_has_no_weight_and_the_others_take_over() -> None:
    labels = some_labels(500)
    predictions = words(labels, 3)
    fusion = Fusion.from_predictions(predictions, labels)
    silent = predictions.copy()
    silent[0, 0] = np.nan
    silent[:2, 1] = np.nan
    silent[:, 2] = np.nan
    posterior, weights = fusion.posterior(silent)
    assert weights[0, 0] == 0
    assert (weights[0, 1:] >= weights[3, 1:]).all()
    assert weights[1].tolist() == [0, 0, 1]
    np.testing.assert_allclose(posterior[1], predictions[2, 1])
    np.testing.assert_allclose(posterior[2], label_shares(labels, 3))
    assert weights[2].tolist() == [0, 0, 0]
    np.testing.assert_allclose(posterior[3:], fusion.posterior(predictions[:, 3:])[0])


def test_n_images_support_no_more_than_n_and_a_half_of_n_and_one() -> None:
    labels = np.arange(24) % 3
    certain = np.stack([0.999999 * one_hot(labels, 3) + 0.000001 / 3] * 2)
    fusion = Fusion.from_predictions(certain, labels)
    posterior, _ = fusion.posterior(certain)
    np.testing.assert_allclose(posterior.max(axis=1), 24.5 / 25)
    assert np.array_equal(posterior.argmax(axis=1), labels)
    doubtful = words(labels, 2, seed=3)
    below = (free := replace(fusion, ceiling=1.0).posterior(doubtful)[0]).max(axis=1) <= 24.5 / 25
    assert np.array_equal(fusion.posterior(doubtful)[0][below], free[below])


def test_a_fusion_without_its_ceiling_is_not_read() -> None:
    predictions = words(some_labels(60), 3)
    kept = Fusion.from_predictions(predictions, some_labels(60)).to_dict()
    del kept["ceiling"]
    with pytest.raises(KeyError, match="ceiling"):
        Fusion.from_dict(kept)


PROBABILITIES = arrays(np.float64, (3, 5, 4), elements=st.sampled_from([0.0, 1e-12, 0.1, 0.5, 1.0])).map(
    lambda raw: (
        (raw + (raw.sum(axis=2, keepdims=True) == 0)) / (raw + (raw.sum(axis=2, keepdims=True) == 0)).sum(2)[..., None]
    )
)
MISSING = arrays(np.bool_, (3, 5))


@pytest.mark.slow
@given(PROBABILITIES, MISSING, st.permutations(range(3)), st.permutations(range(4)))
def test_order_does_not_matter_and_the_posterior_is_a_distribution(
    predictions: np.ndarray, missing: np.ndarray, agents: list[int], names: list[int]
) -> None:
    predictions[missing] = np.nan
    labels = np.array([0, 1, 2, 3, 0])
    place = np.argsort(names)
    posterior, weights = Fusion.from_predictions(predictions, labels).posterior(predictions)
    assert np.isfinite(posterior).all()
    assert (weights >= 0).all()
    assert (weights[missing.T] == 0).all()
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    shares = label_shares(labels, 4)
    np.testing.assert_allclose(posterior[missing.all(axis=0)], np.tile(shares, (missing.all(axis=0).sum(), 1)))
    shuffled = predictions[agents][:, :, names]
    other, moved = Fusion.from_predictions(shuffled, place[labels]).posterior(shuffled)
    np.testing.assert_allclose(other, posterior[:, names], atol=1e-4)
    np.testing.assert_allclose(moved, weights[:, agents], atol=1e-3)


def test_a_fusion_survives_json() -> None:
    labels = some_labels(60)
    predictions = words(labels, 3)
    for fusion in (Fusion.from_predictions(predictions, labels), Fusion.from_trust([trust(0.1, 0.2, 0.3)] * 3)):
        restored = Fusion.from_dict(json.loads(json.dumps(fusion.to_dict())))
        assert np.array_equal(restored.posterior(predictions)[0], fusion.posterior(predictions)[0])
