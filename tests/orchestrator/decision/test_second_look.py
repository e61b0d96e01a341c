"""What a second look gains: by hand, and what must hold whatever was said of the labelled images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.second_look import (
    MAX_SECOND_LOOKS,
    MIN_SECOND_LOOKS,
    NO_LABEL,
    Gain,
    SecondLookAnswers,
    ValueOfInformation,
)
from consilience.orchestrator.decision.threshold import Threshold
from consilience.orchestrator.ensemble.fusion import Fusion

RUST, SCAB = 0, 1
NOBODY = [np.nan, np.nan]
LOOKS = [("qwen", "first"), ("probe", "first"), ("qwen", "second")]


def seen(words: list[list[float]], labels: list[int], named: list[int] | None = None) -> SecondLookAnswers:
    """Second looks of 'qwen', which named rust at first unless `named` says otherwise."""
    first = [RUST] * len(labels) if named is None else named
    return SecondLookAnswers(("qwen",), np.array([words]).reshape(1, -1, 2), np.array([first]), np.array(labels))


def gain(
    looks: SecondLookAnswers,
    first: list[float],
    probe: list[float] = NOBODY,
    named: int = RUST,
    threshold: float | None = 0.85,
    novelty: float = 0.0,
    again: dict[str, Threshold] | None = None,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Gain:
    """For an image at which 'qwen' and the probe have looked."""
    fusion = Fusion(np.array(weights))
    policy = Policy(PolicySettings(max_disagreement=0.5), Threshold(threshold, 1.0, 1.0), again or {})
    calibrated = np.array([first, probe, NOBODY])
    posterior = fusion.posterior(calibrated[:, None])[0][0]
    return ValueOfInformation(looks, LOOKS, fusion, policy).gain("qwen", named, calibrated, posterior, novelty)  # type: ignore[arg-type]


SAID = [
    *[[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]],  # of rust: settled rightly twice, nothing new, misled
    *[[0.1, 0.9], [0.3, 0.7], [0.9, 0.1], [0.6, 0.4]],  # of scab: settled rightly, corrected, settled wrongly, nothing
]
TRUE = [RUST] * 4 + [SCAB] * 4


def test_the_gain_by_hand() -> None:
    expected_gain = gain(seen(SAID, TRUE), [0.6, 0.4])
    assert expected_gain.better == pytest.approx(0.6 * 2 / 4 + 0.4 * 2 / 4)
    assert expected_gain.worse == pytest.approx(0.6 * 1 / 4 + 0.4 * 1 / 4)
    assert expected_gain.expected == pytest.approx(0.25)


def test_each_label_counts_by_its_posterior_however_many_images_it_has() -> None:
    many = seen(SAID + SAID[:4] * 9, TRUE + [RUST] * 36)
    assert gain(many, [0.6, 0.4]).better == pytest.approx(gain(seen(SAID, TRUE), [0.6, 0.4]).better)
    assert gain(many, [0.6, 0.4]).worse == pytest.approx(gain(seen(SAID, TRUE), [0.6, 0.4]).worse)
    expected_gain = gain(seen(SAID, TRUE), [0.8, 0.2])
    assert expected_gain.better == pytest.approx(0.8 * 0.5 + 0.2 * 0.5)


def test_the_others_keep_their_say() -> None:
    # rust 0.6 : 0.4 and the probe's 0.6 : 0.4; a word of 0.2 : 0.8 makes it 0.12 : 0.32, one of 0.45 : 0.55 changes
    # nothing, since 0.27 : 0.22 is rust still
    words = [[0.2, 0.8], [0.45, 0.55]]
    assert gain(seen(words, [SCAB, SCAB]), [0.6, 0.4], [0.6, 0.4]).better == pytest.approx(0.16 / 0.52 / 2)
    assert gain(seen(words, [SCAB, SCAB]), [0.6, 0.4]).better == pytest.approx(0.4)


def test_a_word_that_the_probe_contradicts_settles_nothing() -> None:
    """The posterior would do; but more than half of the weight names another label."""
    sure = seen([[0.99, 0.01]] * 4, [RUST] * 4)
    first, probe = [0.6, 0.4], [0.45, 0.55]
    assert gain(sure, first, probe, weights=(1, 1, 1)).better > 0.5
    assert gain(sure, first, probe, weights=(1, 2, 1)).better == 0.0


def test_an_unusual_image_gains_by_its_label_alone() -> None:
    novel = gain(seen(SAID, TRUE), [0.6, 0.4], novelty=1.0)
    assert novel.better == pytest.approx(0.4 * 2 / 4)
    assert novel.worse == pytest.approx(0.6 * 1 / 4)


def test_the_threshold_is_that_of_second_looks() -> None:
    high = {"qwen, second look": Threshold(0.95, 1.0, 1.0)}
    assert gain(seen(SAID, TRUE), [0.6, 0.4], again=high) == gain(seen(SAID, TRUE), [0.6, 0.4], novelty=1.0)


def test_silence_changes_nothing() -> None:
    with_silence = gain(seen([*SAID, NOBODY, NOBODY, NOBODY, NOBODY], [*TRUE, RUST, RUST, SCAB, SCAB]), [0.6, 0.4])
    assert with_silence.better == pytest.approx((0.6 * 2 + 0.4 * 2) / 6)
    assert gain(seen([NOBODY], [RUST]), [0.6, 0.4]) == Gain(0.0, 0.0)


def test_cases_that_looked_alike_at_first_count_alone_if_there_are_enough() -> None:
    """Of the scab that was taken for rust the second look finds all; of that which was known at once, none."""
    mistaken, known = [[0.1, 0.9]], [[0.4, 0.6]]
    for number, expected in (
        (MIN_SECOND_LOOKS, 0.4),
        (MIN_SECOND_LOOKS - 1, 0.4 * (MIN_SECOND_LOOKS - 1) / (MIN_SECOND_LOOKS - 1 + 20)),
    ):
        looks = seen(mistaken * number + [[0.9, 0.1]] * 20, [SCAB] * (number + 20), [RUST] * number + [SCAB] * 20)
        assert gain(looks, [0.6, 0.4]).better == pytest.approx(expected)
    assert gain(seen(known * 8, [SCAB] * 8, [NO_LABEL] * 8), [0.6, 0.4], named=NO_LABEL).better == pytest.approx(0.4)


def test_of_many_images_an_even_part_is_replayed() -> None:
    n = 4 * MAX_SECOND_LOOKS
    looks = seen([[0.1, 0.9] if row % 4 else [0.9, 0.1] for row in range(n)], [SCAB] * n)
    _, _, labels = looks.of("qwen")
    assert len(labels) == MAX_SECOND_LOOKS
    assert gain(looks, [0.6, 0.4]).better == pytest.approx(0.4 * 0.75, abs=0.03)


CHANCE = st.floats(0.01, 0.99)
WORDS = st.lists(st.tuples(CHANCE, st.sampled_from([RUST, SCAB])), min_size=1, max_size=30)


def drawn(answers: list[tuple[float, int]]) -> SecondLookAnswers:
    return seen([[p, 1 - p] for p, _ in answers], [truth for _, truth in answers])


@given(WORDS, CHANCE, CHANCE, st.sampled_from([None, 0.8, 0.9]))
def test_chances_are_chances(answers: list[tuple[float, int]], first: float, probe: float, least: float | None) -> None:
    foreseen = gain(drawn(answers), [first, 1 - first], [probe, 1 - probe], threshold=least)
    assert foreseen.better >= 0.0
    assert foreseen.worse >= 0.0
    assert foreseen.better + foreseen.worse <= 1.0 + 1e-9


@given(WORDS, st.floats(0.7, 0.84))
def test_nothing_is_gained_where_every_word_leaves_label_and_verdict(
    answers: list[tuple[float, int]], p: float
) -> None:
    kept = [
        (0.5 + 0.3 * abs(word - 0.5), truth) for word, truth in answers
    ]  # rust still, and never more sure than 0.65
    assert gain(drawn(kept), [p, 1 - p]) == Gain(0.0, 0.0)


@given(WORDS, st.floats(0.55, 0.8))
def test_nothing_is_gained_by_one_whose_word_has_no_weight(answers: list[tuple[float, int]], p: float) -> None:
    assert gain(drawn(answers), [0.5, 0.5], [p, 1 - p], weights=(1.0, 1.0, 0.0)) == Gain(0.0, 0.0)


@given(WORDS, CHANCE)
def test_without_a_threshold_only_a_better_label_is_a_gain(answers: list[tuple[float, int]], p: float) -> None:
    foreseen = gain(drawn([(word, RUST) for word, _ in answers]), [0.6, 0.4], threshold=None)
    assert foreseen.better == 0.0  # the label is right for every case there is


@pytest.mark.parametrize("sure", [0.7, 0.8, 0.84])
def test_who_guesses_the_second_time_gains_nothing_for_what_is_probably_right(sure: float) -> None:
    guesses = np.linspace(0.2, 0.8, 100).tolist()
    foreseen = gain(seen([[p, 1 - p] for p in guesses * 2], [RUST] * 100 + [SCAB] * 100), [sure, 1 - sure])
    assert foreseen.expected == pytest.approx((1 - sure) / 2 - sure / 2)
    assert foreseen.worse == pytest.approx(sure / 2)


@pytest.mark.parametrize("skill", [0.6, 0.8, 0.95])
def test_what_is_foreseen_is_what_comes(skill: float) -> None:
    """The gain over many images is the mean of what their second looks then do to them."""
    rng = np.random.default_rng(1)

    def looked_at(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 2, n)
        right = np.where(rng.random(n) < skill, skill, 1 - skill)
        return np.where(labels == RUST, right, 1 - right), labels

    then, known = looked_at(500)
    foreseen = gain(seen([[p, 1 - p] for p in then], known.tolist()), [0.6, 0.4])
    now = rng.random(4000) < 0.6
    word, labels = looked_at(4000)
    word, labels = word[(labels == RUST) == now], labels[(labels == RUST) == now]  # rust with a probability of 0.6
    weight = np.where(labels == RUST, 0.6 / (labels == RUST).mean(), 0.4 / (labels == SCAB).mean()) / len(labels)
    is_right, is_sure = (word > 0.5) == (labels == RUST), np.maximum(word, 1 - word) >= 0.85
    better = weight @ (is_right & (is_sure | (labels == SCAB)))
    worse = weight @ (~is_right & (is_sure | (labels == RUST)))
    assert foreseen.better == pytest.approx(better, abs=0.05)
    assert foreseen.worse == pytest.approx(worse, abs=0.05)


def test_second_looks_survive_being_written() -> None:
    for looks in (seen([*SAID, NOBODY], [*TRUE, SCAB], [RUST] * 8 + [NO_LABEL]), SecondLookAnswers.none()):
        restored = SecondLookAnswers.from_arrays(looks.arrays())
        assert restored.agents == looks.agents
        for name, array in looks.arrays().items():
            np.testing.assert_array_equal(restored.arrays()[name], array)
