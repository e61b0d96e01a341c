"""When a diagnosis is settled: the threshold by hand and as a property, and each reason not to settle, alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.orchestrator.policy import Outcomes, Policy, Threshold, choose_threshold, threshold_again
from consilience.settings import PolicySettings

NAMES, AGENTS = ("healthy", "rust", "scab"), ("probe", "qwen")


CHANCE = st.integers(0, 20).map(lambda i: i / 20)


def outcomes(*pairs: tuple[float, bool]) -> Outcomes:
    return Outcomes(np.array([p for p, _ in pairs]), np.array([right for _, right in pairs], dtype=bool))


def test_a_target_of_95_percent_takes_19_right_images() -> None:
    sure = [(0.9, True)] * 18
    assert choose_threshold(outcomes(*sure), 0.95, least=0.0) == Threshold(None, 0.0, 0.0)
    assert choose_threshold(outcomes(*sure, (0.6, True)), 0.95, least=0.0) == Threshold(0.6, 1.0, 1.0)
    assert choose_threshold(outcomes(*sure, (0.9, True)), 0.95, least=0.0) == Threshold(0.9, 1.0, 1.0)


def test_the_lowest_threshold_that_keeps_the_target_is_taken() -> None:
    said = outcomes((0.9, True), (0.8, True), (0.7, True), (0.6, False), (0.5, True), (0.4, True), (0.3, False))
    # errors + 1 of settled + 1: 1/2 1/3 1/4 | 2/5 2/6 2/7 | 3/8
    assert choose_threshold(said, 0.75, least=0.0) == Threshold(0.7, pytest.approx(3 / 7), 1.0)
    assert choose_threshold(said, 2 / 3, least=0.0) == Threshold(0.4, pytest.approx(6 / 7), pytest.approx(5 / 6))
    assert choose_threshold(said, 0.6, least=0.0) == Threshold(0.3, 1.0, pytest.approx(5 / 7))
    assert choose_threshold(said, 0.8, least=0.0).probability is None


def test_images_of_equal_probability_are_settled_together_or_not_at_all() -> None:
    said = outcomes((0.9, True), (0.9, True), (0.8, True), (0.8, False))
    assert choose_threshold(said, 2 / 3) == Threshold(0.9, 0.5, 1.0)
    assert choose_threshold(said, 0.6) == Threshold(0.8, 1.0, 0.75)


def test_nothing_to_choose_on_and_a_target_of_certainty_settle_nothing() -> None:
    assert choose_threshold(outcomes(), 0.5).probability is None
    assert choose_threshold(outcomes(*[(1.0, True)] * 500), 1.0).probability is None


def again(first: Outcomes, second: Outcomes, target: float, threshold: float | None) -> float | None:
    return threshold_again(first, second, Threshold(threshold, 1.0, 1.0), target).probability


def test_after_a_second_look_the_lowest_threshold_is_taken_at_which_all_that_is_settled_keeps_the_target() -> None:
    first = outcomes(*[(0.9, True)] * 5, *[(0.6, True)] * 2, *[(0.5, False)] * 2)
    # what the first looks left, after the second: 0.95 right, 0.9 wrong, 0.85 right, 0.7 right
    second = outcomes(*[(0.1, False)] * 5, (0.95, True), (0.85, True), (0.9, False), (0.7, True))
    # errors + 1 of settled + 1, with the 5 of the first looks: 1/7, 2/8, 2/9; below LEAST nothing is settled
    assert again(first, second, 0.85, 0.9) == 0.95
    assert again(first, second, 0.75, 0.9) == 0.85
    assert again(first, second, 0.9, 0.9) is None
    # without a threshold for first looks all are left: 0.95 right, 0.9 wrong, 0.85 right: 1/2, 2/3, 2/4
    assert again(first, second, 0.5, None) == 0.85
    assert again(first, second, 0.6, None) is None


def test_errors_of_the_first_looks_leave_less_room_for_those_of_the_second() -> None:
    left = [(0.9, True)] * 10
    for mistakes, expected in ((0, 0.9), (1, 0.9), (2, None)):
        first = outcomes(*[(0.95, True)] * (9 - mistakes), *[(0.95, False)] * mistakes, *[(0.5, True)] * 10)
        assert again(first, outcomes(*[(0.95, True)] * 9, *left), 0.9, 0.95) == expected  # (mistakes + 1) / 20


def test_where_no_image_was_left_to_look_at_again_the_first_threshold_stands() -> None:
    sure = outcomes(*[(0.95, True)] * 30)
    assert again(sure, sure, 0.9, 0.93) == 0.93
    left = outcomes(*[(0.95, True)] * 30, (0.7, False))
    assert again(left, left, 0.9, 0.93) == 0.93  # its posterior is below LEAST whatever the threshold


@given(
    st.lists(st.tuples(CHANCE, st.booleans(), CHANCE, st.booleans()), min_size=1, max_size=60), st.floats(0.05, 0.99)
)
def test_all_that_is_settled_in_the_end_keeps_the_target(
    rows: list[tuple[float, bool, float, bool]], target: float
) -> None:
    first, second = outcomes(*[row[:2] for row in rows]), outcomes(*[row[2:] for row in rows])
    at_first = choose_threshold(first, target)
    chosen = threshold_again(first, second, at_first, target)
    if chosen.probability is None or chosen == at_first:
        return
    settled = [
        a_right if a >= at_first.least else b_right
        for a, a_right, b, b_right in rows
        if a >= at_first.least or b >= chosen.least
    ]
    assert chosen.probability >= 0.8
    assert (settled.count(False) + 1) / (len(settled) + 1) <= 1 - target + 1e-9


OUTCOMES = st.lists(st.tuples(CHANCE, st.booleans()), max_size=60)


@given(OUTCOMES, st.floats(0.05, 0.99), st.sampled_from([0.0, 0.5, 0.8]))
def test_the_target_is_kept_with_one_error_to_spare_and_no_lower_threshold_keeps_it(
    pairs: list[tuple[float, bool]], target: float, least: float
) -> None:
    chosen = choose_threshold(outcomes(*pairs), target, least)

    def kept(threshold: float) -> bool:
        settled = [right for p, right in pairs if p >= threshold]
        return bool(settled) and (settled.count(False) + 1) / (len(settled) + 1) <= 1 - target + 1e-12

    keeping = [p for p, _ in pairs if p >= least and kept(p)]
    assert chosen.probability == (min(keeping) if keeping else None)
    if chosen.probability is not None:
        settled = [right for p, right in pairs if p >= chosen.probability]
        assert chosen.settled == pytest.approx(len(settled) / len(pairs))
        assert chosen.accuracy == pytest.approx(sum(settled) / len(settled))


@given(OUTCOMES)
def test_a_stricter_target_never_lowers_the_threshold(pairs: list[tuple[float, bool]]) -> None:
    chosen = [choose_threshold(outcomes(*pairs), target).probability for target in (0.5, 0.7, 0.9, 0.95)]
    assert chosen == sorted(chosen, key=lambda one: np.inf if one is None else one)


def test_outcomes_survive_json_unchanged() -> None:
    said = outcomes((1 - 1e-9, True), (1 / 3, False))
    restored = Outcomes.from_dict(json.loads(json.dumps(said.to_dict())))
    assert restored.probability.tolist() == said.probability.tolist()
    assert restored.correct.tolist() == [True, False]
    both = Outcomes.from_dict(json.loads(json.dumps(replace(said, again={"qwen": said}).to_dict())))
    assert both.again["qwen"].probability.tolist() == said.probability.tolist()
    # a rounded threshold of 1 would settle nothing more
    sure = outcomes(*[(1 - 1e-9, True)] * 30)
    assert choose_threshold(Outcomes.from_dict(sure.to_dict()), 0.95).probability == 1 - 1e-9


def reasons(
    posterior: list[float],
    said: list[list[float]],
    weights: list[float],
    novelty: float = 0.0,
    threshold: float | None = 0.85,
    **settings: float,
) -> list[str]:
    policy = Policy(PolicySettings(**settings), Threshold(threshold, 1.0, 1.0))  # type: ignore[arg-type]
    calibrated = np.array(said)[:, None, :]
    (found,) = policy.reasons(np.array([posterior]), calibrated, np.array([weights]), NAMES, AGENTS, [novelty])
    return found


RUST, WEAK_RUST, SCAB = [0.05, 0.9, 0.05], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]
SILENT = [np.nan] * 3


def test_a_strong_posterior_that_all_share_of_a_usual_image_is_settled() -> None:
    assert reasons(RUST, [RUST, RUST], [1.0, 1.0]) == []
    assert reasons([0.05, 0.85, 0.1], [RUST, RUST], [1.0, 1.0]) == []  # at the threshold
    assert reasons(RUST, [RUST, SILENT], [1.0, 0.0]) == []


def test_weak_posterior_alone() -> None:
    assert reasons([0.01, 0.849, 0.141], [RUST, RUST], [1, 1]) == ["weak posterior: 0.849 for rust is below 0.850"]


def test_nothing_is_called_confident_below_what_the_overconfidence_ratio_counts() -> None:
    said = outcomes(*[(0.7, True)] * 50, *[(0.9, True)] * 50)
    assert choose_threshold(said, 0.95) == Threshold(0.9, 0.5, 1.0)
    assert choose_threshold(outcomes(*[(0.7, True)] * 50), 0.95).probability is None


def test_without_a_threshold_nothing_is_settled() -> None:
    (reason,) = reasons(RUST, [RUST, RUST], [1, 1], threshold=None)
    assert reason == "too few labelled images were right for a threshold with 95% accuracy"


def test_disagreement_alone() -> None:
    # the winner's witness is sure, and trusted enough to lead; the greater weight is against it
    (reason,) = reasons(RUST, [RUST, [0.3, 0.3, 0.4]], [0.8, 1.0])
    assert reason == "disagreement: 56% of the weight names another label than rust"
    assert reasons(RUST, [RUST, [0.3, 0.3, 0.4]], [1.0, 1.0]) == []  # half is not more than half
    assert reasons(RUST, [RUST, [0.3, 0.3, 0.4]], [0.8, 1.0], max_disagreement=0.6) == []


def test_a_distrusted_leader_alone() -> None:
    sure = [0.0001, 0.9998, 0.0001]
    (reason,) = reasons(RUST, [WEAK_RUST, sure], [1.0, 0.49])
    assert reason == "a distrusted agent leads: qwen decides for rust with little weight"
    assert reasons(RUST, [WEAK_RUST, sure], [1.0, 0.51]) == []
    assert reasons(RUST, [WEAK_RUST, [0.1, 0.8, 0.1]], [1.0, 0.49]) == []  # it does not lead


def test_who_did_not_answer_leads_nothing() -> None:
    assert reasons(RUST, [SILENT, WEAK_RUST], [0.0, 1.0]) == []


def test_novelty_alone() -> None:
    (reason,) = reasons(RUST, [RUST, RUST], [1, 1], novelty=0.995)
    assert reason == "novelty: 99.5% of the known images have nearer neighbours than this one"
    assert reasons(RUST, [RUST, RUST], [1, 1], novelty=0.99) == []
    assert reasons(RUST, [RUST, RUST], [1, 1], novelty=1.0, max_novelty=1.0) == []


def test_each_image_has_its_own_reasons() -> None:
    policy = Policy(PolicySettings(), Threshold(0.7, 1.0, 1.0))
    calibrated = np.array([[RUST, SILENT, RUST], [RUST, SILENT, SCAB]])
    posterior = np.array([RUST, [1 / 3] * 3, [0.1, 0.5, 0.4]])
    weights = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    first, second, third = policy.reasons(posterior, calibrated, weights, NAMES, AGENTS, [0.0, 0.0, 1.0])
    assert first == []
    assert [one.split(":")[0] for one in second] == ["weak posterior"]
    assert [one.split(":")[0] for one in third] == ["weak posterior", "novelty"]


def test_of_those_who_looked_again_the_greatest_threshold_holds() -> None:
    looks = ("qwen", "gpt", "qwen, second look", "gpt, second look", "new, second look")
    again = {looks[2]: Threshold(0.9, 1, 1), looks[3]: Threshold(0.7, 1, 1)}
    policy = Policy(PolicySettings(), Threshold(0.8, 1, 1), again)
    heard = np.array([[1, 0, 1, 0, 1], [1, 1, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=bool)
    calibrated = np.where(heard.T[:, :, None], np.array([0.5, 0.25, 0.25]), np.nan)
    doubts = policy.doubts(np.full((5, 3), 1 / 3), calibrated, heard * 1.0, looks, np.zeros(5))
    assert doubts.least.tolist() == [0.9, 0.8, 0.8, 0.9, 0.8]
    nothing = replace(policy, again={looks[2]: Threshold(None, 0, 0)})
    found = nothing.reasons(np.tile([0.99, 0.01, 0], (5, 1)), calibrated, heard * 1.0, NAMES, looks, [0] * 5)
    few = ["too few labelled images were right for a threshold with 95% accuracy"]
    assert found == [few, [], [], few, []]
