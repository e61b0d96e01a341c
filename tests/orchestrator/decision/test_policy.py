"""When a diagnosis is settled: the threshold by hand and as a property, and each reason not to settle, alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.conformal import LabelSets
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.settling import settles
from consilience.orchestrator.decision.threshold import Threshold, binomial_tails, choose_threshold, threshold_again

NAMES, AGENTS = ("healthy", "rust", "scab"), ("probe", "qwen")


CHANCE = st.integers(0, 20).map(lambda i: i / 20)


def calibration_set(*pairs: tuple[float, bool]) -> CalibrationSet:
    """Of images whose named label, the first of two, has posterior p and is right or not."""
    p, correct = np.array([p for p, _ in pairs]), np.array([right for _, right in pairs], dtype=bool)
    return CalibrationSet(p, correct, np.c_[p, 1 - p], (~correct).astype(int), np.arange(len(p)))


HALF = 0.5


def chosen(outcomes: CalibrationSet, target: float, delta: float = HALF, least: float = 0.0) -> Threshold:
    return choose_threshold(outcomes, target, delta, least)


def test_a_promise_of_95_percent_takes_45_right_images() -> None:
    # 0.95^45 = 0.0994
    sure = [(0.9, True)] * 44
    assert chosen(calibration_set(*sure), 0.95, 0.1) == Threshold(None, 0.0, 0.0)
    assert chosen(calibration_set(*sure, (0.6, True)), 0.95, 0.1) == Threshold(0.6, 1.0, 1.0)
    assert chosen(calibration_set(*sure, (0.9, True)), 0.95, 0.1) == Threshold(0.9, 1.0, 1.0)


def test_the_lowest_threshold_that_keeps_the_promise_is_taken() -> None:
    outcomes = calibration_set((0.9, True), (0.8, True), (0.7, False), (0.6, True), (0.5, False))
    # P(Binomial(k, 1/2) <= e): 1/2, 1/4, then 4/8, 5/16, then 16/32
    assert chosen(outcomes, HALF) == Threshold(0.5, 1.0, 3 / 5)
    assert chosen(outcomes, HALF, 0.4) == Threshold(0.8, 2 / 5, 1.0)  # 4/8 fails, and ends the sequence
    assert chosen(outcomes, HALF, 0.2).probability is None  # it begins with three images


def test_images_of_equal_probability_are_settled_together_or_not_at_all() -> None:
    outcomes = calibration_set((0.9, True), (0.9, True), (0.8, True), (0.8, False))
    assert chosen(outcomes, HALF, 0.25) == Threshold(0.9, 0.5, 1.0)
    assert chosen(outcomes, HALF, 0.4) == Threshold(0.8, 1.0, 0.75)  # 5/16


def test_nothing_to_choose_on_and_a_target_of_certainty_settle_nothing() -> None:
    assert chosen(calibration_set(), HALF).probability is None
    assert chosen(calibration_set(*[(1.0, True)] * 500), 1.0).probability is None


@given(st.integers(1, 80), st.integers(0, 80), st.floats(0.01, 0.99))
def test_tails_are_those_of_scipy(trials: int, successes: int, chance: float) -> None:
    expected = binom.cdf(min(successes, trials), trials, chance)
    (tail,) = binomial_tails(np.array([min(successes, trials)]), np.array([trials]), chance)
    assert tail == pytest.approx(expected, abs=1e-9)


def test_the_promise_is_kept_as_often_as_it_says() -> None:
    # of 400 draws of 200 images, on which 0.8 + 0.2 p are right, less than delta may settle at a worse threshold
    rng, broken = np.random.default_rng(0), 0
    for _ in range(400):
        p = rng.random(200)
        threshold = choose_threshold(
            calibration_set(*zip(p, rng.random(200) < 0.8 + 0.2 * p, strict=True)), 0.9, 0.1, 0.0
        )
        if threshold.probability is not None:
            broken += 0.8 + 0.2 * (1 + threshold.probability) / 2 < 0.9
    assert broken <= 40 + 3 * 6


def again(first: CalibrationSet, second: CalibrationSet, target: float, threshold: float | None) -> float | None:
    return threshold_again(first, second, Threshold(threshold, 1.0, 1.0), target, HALF).probability


def test_after_a_second_look_all_that_is_settled_at_first_or_now_keeps_the_promise() -> None:
    first = calibration_set(*[(0.9, True)] * 3, (0.5, True), (0.5, False))
    second = calibration_set(*[(0.1, False)] * 3, (0.9, True), (0.85, False))
    # with the three of the first looks: 1/16, then P(Binomial(5, 1/2) <= 1) = 6/32
    assert again(first, second, HALF, 0.9) == 0.85
    assert again(first, second, 0.8, 0.9) == 0.9  # 0.8^4 = 0.41, then 0.74
    assert again(first, second, 0.9, 0.9) is None


def test_where_no_image_was_left_to_look_at_again_the_first_threshold_stands() -> None:
    sure = calibration_set(*[(0.95, True)] * 30)
    assert again(sure, sure, 0.9, 0.93) == 0.93
    left = calibration_set(*[(0.95, True)] * 30, (0.7, False))
    assert again(left, left, 0.9, 0.93) == 0.93  # its posterior is below LEAST whatever the threshold


OUTCOMES = st.lists(st.tuples(CHANCE, st.booleans()), max_size=60)


@given(OUTCOMES, st.floats(0.05, 0.99), st.sampled_from([0.0, 0.5, 0.8]))
def test_what_is_chosen_keeps_the_promise(pairs: list[tuple[float, bool]], target: float, least: float) -> None:
    threshold = chosen(calibration_set(*pairs), target, 0.3, least)
    if threshold.probability is not None:
        settled = [right for p, right in pairs if p >= threshold.probability]
        assert threshold.probability >= least
        assert binom.cdf(settled.count(False), len(settled), 1 - target) <= 0.3 + 1e-9
        assert threshold.settled == pytest.approx(len(settled) / len(pairs))
        assert threshold.accuracy == pytest.approx(sum(settled) / len(settled))


def test_outcomes_survive_json_unchanged() -> None:
    outcomes = calibration_set((1 - 1e-9, True), (1 / 3, False))
    restored = CalibrationSet.from_dict(json.loads(json.dumps(outcomes.to_dict())))
    assert restored.probability.tolist() == outcomes.probability.tolist()
    assert restored.correct.tolist() == [True, False]
    both = CalibrationSet.from_dict(json.loads(json.dumps(replace(outcomes, again={"qwen": outcomes}).to_dict())))
    assert both.again["qwen"].probability.tolist() == outcomes.probability.tolist()
    # a rounded threshold of 1 would settle nothing more
    sure = calibration_set(*[(1 - 1e-9, True)] * 30)
    assert chosen(CalibrationSet.from_dict(sure.to_dict()), 0.95).probability == 1 - 1e-9
    whole = CalibrationSet.of(np.array([[1 / 3, 2 / 3]]), np.array([0]))
    restored = CalibrationSet.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert np.array_equal(restored.posterior, [[1 / 3, 2 / 3]])
    assert np.array_equal(restored.labels, [0])
    assert CalibrationSet.from_dict(CalibrationSet.none().to_dict()).posterior.shape == (0, 1)


def reasons(
    posterior: list[float],
    member_predictions: list[list[float]],
    weights: list[float],
    novelty: float = 0.0,
    threshold: float | None = 0.85,
    **settings: float,
) -> list[str]:
    policy = Policy(PolicySettings(**settings), Threshold(threshold, 1.0, 1.0))  # type: ignore[arg-type]
    calibrated = np.array(member_predictions)[:, None, :]
    (per_image,) = policy.reasons(np.array([posterior]), calibrated, np.array([weights]), NAMES, AGENTS, [novelty])
    return per_image


RUST, WEAK_RUST, SCAB = [0.05, 0.9, 0.05], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]
SILENT = [np.nan] * 3


def test_a_strong_posterior_that_all_share_of_a_usual_image_is_settled() -> None:
    assert reasons(RUST, [RUST, RUST], [1.0, 1.0]) == []
    assert reasons([0.05, 0.85, 0.1], [RUST, RUST], [1.0, 1.0]) == []  # at the threshold
    assert reasons(RUST, [RUST, SILENT], [1.0, 0.0]) == []


def test_weak_posterior_alone() -> None:
    assert reasons([0.01, 0.849, 0.141], [RUST, RUST], [1, 1]) == ["Only 84.9 % sure; 85.0 % is needed"]


@pytest.mark.parametrize(
    ("probability", "threshold", "reason"),
    [
        (0.62, 0.8, "Only 62 % sure; 80 % is needed"),
        (0.7996, 0.8, "Only 79.96 % sure; 80.00 % is needed"),
        (0.994, 0.997, "Only 99.4 % sure; 99.7 % is needed"),
    ],
)
def test_a_weak_posterior_is_told_from_what_is_needed(probability: float, threshold: float, reason: str) -> None:
    rest = (1 - probability) / 2
    assert reasons([rest, probability, rest], [RUST, RUST], [1, 1], threshold=threshold) == [reason]


def test_nothing_is_called_confident_below_what_the_overconfidence_ratio_counts() -> None:
    outcomes = calibration_set(*[(0.7, True)] * 50, *[(0.9, True)] * 50)
    assert choose_threshold(outcomes, 0.95, 0.1) == Threshold(0.9, 0.5, 1.0)
    assert choose_threshold(calibration_set(*[(0.7, True)] * 50), 0.95, 0.1).probability is None


def test_without_a_threshold_nothing_is_settled() -> None:
    (reason,) = reasons(RUST, [RUST, RUST], [1, 1], threshold=None)
    assert reason == "Too few labelled images to promise 95 % accuracy: the surest 45 must all be right"


def test_disagreement_alone() -> None:
    # the winner's member is sure, and trusted enough to lead; the greater weight is against it
    (reason,) = reasons(RUST, [RUST, [0.3, 0.3, 0.4]], [0.8, 1.0])
    assert reason == "The agents disagree: 55.6 % of the weight is for another label than rust"
    assert reasons(RUST, [RUST, [0.3, 0.3, 0.4]], [1.0, 1.0]) == []  # half is not more than half
    assert reasons(RUST, [RUST, [0.3, 0.3, 0.4]], [0.8, 1.0], max_disagreement=0.6) == []


def test_a_distrusted_leader_alone() -> None:
    sure = [0.0001, 0.9998, 0.0001]
    (reason,) = reasons(RUST, [WEAK_RUST, sure], [1.0, 0.49])
    assert reason == "qwen decides for rust, and has earned little trust"
    assert reasons(RUST, [WEAK_RUST, sure], [1.0, 0.51]) == []
    assert reasons(RUST, [WEAK_RUST, [0.1, 0.8, 0.1]], [1.0, 0.49]) == []  # it does not lead


def test_heads_on_one_eye_are_trusted_together() -> None:
    """Each holds a part of their common weight, which says nothing against either."""
    looks, calibrated = ("probe", "gaussian", "qwen"), np.array([RUST, [0.0001, 0.9998, 0.0001], WEAK_RUST])[:, None, :]
    apart = Policy(PolicySettings(), Threshold(0.85, 1.0, 1.0))
    weights = np.array([[0.6, 0.4, 1.0]])
    (per_image,) = apart.reasons(np.array([RUST]), calibrated, weights, NAMES, looks, [0.0])
    assert per_image == ["gaussian decides for rust, and has earned little trust"]
    together = replace(apart, sources={"probe": 0, "gaussian": 0, "qwen": 1})
    assert together.reasons(np.array([RUST]), calibrated, weights, NAMES, looks, [0.0]) == [[]]


def test_who_did_not_answer_leads_nothing() -> None:
    assert reasons(RUST, [SILENT, WEAK_RUST], [0.0, 1.0]) == []


def test_novelty_alone() -> None:
    (reason,) = reasons(RUST, [RUST, RUST], [1, 1], novelty=0.995)
    assert reason == "Unlike the images it knows: 99.5 % of them are less unusual"
    assert reasons(RUST, [RUST, RUST], [1, 1], novelty=0.95) == []
    assert reasons(RUST, [RUST, RUST], [1, 1], novelty=1.0, max_novelty=1.0) == []


def test_each_image_has_its_own_reasons() -> None:
    policy = Policy(PolicySettings(), Threshold(0.7, 1.0, 1.0))
    calibrated = np.array([[RUST, SILENT, RUST], [RUST, SILENT, SCAB]])
    posterior = np.array([RUST, [1 / 3] * 3, [0.1, 0.5, 0.4]])
    weights = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    first, second, third = policy.reasons(posterior, calibrated, weights, NAMES, AGENTS, [0.0, 0.0, 1.0])
    assert first == []
    assert second == ["Only 33 % sure; 70 % is needed"]
    assert third == ["Only 50 % sure; 70 % is needed", "Unlike the images it knows: 100 % of them are less unusual"]


def test_of_those_who_looked_again_the_greatest_threshold_holds() -> None:
    looks = ("qwen", "gpt", "qwen, second look", "gpt, second look", "new, second look")
    again = {looks[2]: Threshold(0.9, 1, 1), looks[3]: Threshold(0.7, 1, 1)}
    policy = Policy(PolicySettings(), Threshold(0.8, 1, 1), again)
    answered = np.array(
        [[1, 0, 1, 0, 1], [1, 1, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=bool
    )
    calibrated = np.where(answered.T[:, :, None], np.array([0.5, 0.25, 0.25]), np.nan)
    doubts = policy.doubts(np.full((5, 3), 1 / 3), calibrated, answered * 1.0, looks, np.zeros(5))
    assert doubts.least.tolist() == [0.9, 0.8, 0.8, 0.9, 0.8]
    nothing = replace(policy, again={looks[2]: Threshold(None, 0, 0)})
    per_image = nothing.reasons(np.tile([0.99, 0.01, 0], (5, 1)), calibrated, answered * 1.0, NAMES, looks, [0] * 5)
    few = ["Too few labelled images to promise 95 % accuracy: the surest 45 must all be right"]
    assert per_image == [few, [], [], few, []]


def following(sets: list[float], **settings: float) -> Policy:
    return Policy(PolicySettings(**settings), Threshold(0.8, 1.0, 1.0), sets=LabelSets(np.array(sets)), images=30)  # type: ignore[arg-type]


def why(policy: Policy, posterior: list[float]) -> list[str]:
    calibrated = np.array([[posterior], [posterior]])
    (per_image,) = policy.reasons(np.array([posterior]), calibrated, np.ones((1, 2)), NAMES, AGENTS, [0.0])
    return per_image


def test_one_label_left_is_settled_and_several_are_named() -> None:
    policy = following([0.1, 0.5, 0.1])
    assert why(policy, [0.05, 0.9, 0.05]) == []
    assert why(policy, [0.05, 0.81, 0.14]) == ["Could be rust or scab"]
    several, weak = why(policy, [0.15, 0.7, 0.15])
    assert several == "Could be rust, healthy or scab"
    assert weak == "Only 70 % sure; 80 % is needed"


def test_where_every_label_would_be_excluded_the_most_probable_stays_and_a_person_looks() -> None:
    policy, posterior = following([0.5, 0.95, 0.5]), np.array([[0.05, 0.9, 0.05]])
    assert policy.prediction_sets(posterior, posterior[None], NAMES, AGENTS[:1]) == [["rust"]]
    (reason,) = why(policy, posterior[0].tolist())
    assert reason == "Only 90.0 % sure; of the known images of rust, 95 % were surer"


def test_too_few_images_exclude_nothing_and_the_reason_says_how_many_it_takes() -> None:
    few = CalibrationSet.of(np.tile([0.98, 0.01, 0.01], (18, 1)), np.zeros(18, int))
    policy = Policy.chosen(PolicySettings(), few)
    (reason,) = why(policy, [0.98, 0.01, 0.01])
    assert reason == "18 labelled images cannot rule out any label at 95 % coverage: 19 are needed"
    [reason] = why(Policy.chosen(PolicySettings(coverage=0.999), few), [0.01, 0.98, 0.01])
    assert reason == "18 labelled images cannot rule out any label at 99.9 % coverage: 999 are needed"
    assert policy.prediction_sets(np.array([[0.01, 0.98, 0.01]]), np.ones((1, 1, 3)), NAMES, AGENTS[:1]) == [
        ["rust", "healthy", "scab"]
    ]
    assert (settles(PolicySettings(), few).threshold.probability, settles(PolicySettings(), few).needed) == (None, 19)


def test_sets_are_of_the_stage_that_was_used_and_of_several_the_widest_hold() -> None:
    looks = ("qwen", "qwen, second look", "gpt, second look")
    again = {looks[1]: LabelSets(np.array([0.0, 0.5, 0.5])), looks[2]: LabelSets(np.array([0.5, 0.0, 0.5]))}
    policy = replace(following([0.3, 0.3, 0.3]), sets_again=again)
    answered = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], dtype=bool)
    calibrated = np.where(answered.T[:, :, None], 1 / 3, np.nan) * np.ones(3)
    posterior = np.tile([0.2, 0.2, 0.6], (3, 1))
    assert [sorted(labels) for labels in policy.prediction_sets(posterior, calibrated, NAMES, looks)] == [
        ["scab"],
        ["healthy", "scab"],
        ["healthy", "rust", "scab"],
    ]


def test_where_nothing_is_known_of_labels_a_posterior_settles() -> None:
    policy = Policy(PolicySettings(), Threshold(0.9, 1.0, 1.0))
    assert not policy.follows_sets
    assert why(policy, [0.05, 0.9, 0.05]) == []


def test_accuracy_can_settle_instead_of_sets() -> None:
    rows = np.tile([0.05, 0.9, 0.05], (60, 1))
    policy = Policy.chosen(PolicySettings(settle="risk_control"), CalibrationSet.of(rows, np.ones(60, int)))
    assert policy.threshold.probability == 0.9
    assert settles(policy.settings, CalibrationSet.of(rows, np.ones(60, int))).by == "risk_control"
    assert why(policy, [0.4, 0.59, 0.01]) == ["Only 59 % sure; 90 % is needed"]
    assert policy.prediction_sets(np.array([[0.02, 0.93, 0.05]]), np.ones((1, 1, 3)), NAMES, AGENTS[:1]) == [["rust"]]
