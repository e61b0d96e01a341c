"""An agent that states labels is taken at what its statements were worth: by hand, and against what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nbinom

from consilience.agents.base import softmax
from consilience.orchestrator.ensemble.calibration import states_labels
from consilience.orchestrator.ensemble.confusion import (
    USUAL_ERRORS_OF_A_LABEL,
    USUAL_IMAGES,
    ConfusionMatrix,
    ConfusionPrior,
    calibrated_statements,
)
from consilience.orchestrator.ensemble.dirichlet import (
    STRENGTHS,
    drawn_to,
    label_shares,
    likeliest_count,
    likeliest_strength,
)
from consilience.orchestrator.ensemble.out_of_fold import with_room
from consilience.orchestrator.ensemble.statements import Statements, log_odds_of_the_named


def stated(named: np.ndarray, confidence: np.ndarray | float = 0.9, c: int = 3) -> np.ndarray:
    """The distributions of an agent that names a label and states one number, (n, c)."""
    sure = np.broadcast_to(confidence, named.shape)[:, None]
    return np.where(np.eye(c, dtype=bool)[named], sure, (1 - sure) / (c - 1))


def drawn(matrix: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """What an agent names for these labels that names x with chance matrix[y, x] where y is true."""
    draws = np.random.default_rng(seed).random((len(labels), 1))
    return np.asarray((draws > matrix[labels].cumsum(axis=1)).sum(axis=1))


def chances(calibrator: ConfusionMatrix, c: int = 3) -> np.ndarray:
    """What an agent's statements are worth, (c, c), by the label that it names."""
    return calibrator(stated(np.arange(c), c=c))


SWAPS = np.array([[0.05, 0.9, 0.05], [0.9, 0.05, 0.05], [0.05, 0.05, 0.9]])
ERRS_AT_RANDOM = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])


def test_what_is_expected_of_an_agent_by_hand() -> None:
    """Of 16 answers 8 are right, 6 wrong ones name the label 0, 2 the label 1; of such agents 3 of 4 are right."""
    counts = np.array([[2.0, 1.0, 0.0], [4.0, 3.0, 0.0], [2.0, 1.0, 3.0]])
    prior = ConfusionPrior(0.75, accuracy_images=16.0, error_images=4.0, images=10.0)
    rate = (8 + 16 * 0.75) / (16 + 16)
    names = (np.array([6.0, 2.0, 0.0]) + 4 / 3) / (8 + 4)
    expected = prior.expected(counts)
    assert np.diag(expected) == pytest.approx([rate] * 3)
    assert expected[2, :2] == pytest.approx((1 - rate) * names[:2] / names[:2].sum())
    shares = np.array([0.5, 0.25, 0.25])
    named_0 = shares * (counts[:, 0] + 10 * expected[:, 0]) / (counts.sum(axis=1) + 10)
    assert softmax(prior.logs(counts, shares))[0] == pytest.approx(named_0 / named_0.sum())


def test_swapped_labels_are_put_right() -> None:
    labels = np.arange(300) % 3
    folds = np.arange(300) // 3 % 5
    raw = stated(drawn(SWAPS, labels, 1))
    ((calibrator, rows),) = calibrated_statements([raw], labels, folds)
    np.testing.assert_allclose(chances(calibrator), SWAPS, atol=0.04)
    assert (rows.argmax(axis=1) == labels).mean() > 0.85


def test_of_an_agent_that_errs_at_random_few_images_are_enough() -> None:
    """Each cell would be one or two of 20 images; that errors are evenly spread is seen from all of them."""
    distances = []
    for seed in range(20):
        labels = np.random.default_rng(seed).integers(0, 3, 21)
        raw = [stated(drawn(ERRS_AT_RANDOM, labels, 100 * seed + agent)) for agent in range(5)]
        fitted = calibrated_statements(raw, labels, np.arange(21) % 4)
        distances.append(np.mean([np.abs(chances(each) - ERRS_AT_RANDOM).mean() for each, _ in fitted]))
    assert np.mean(distances) < 0.06
    counts = np.array([[6.0, 1, 0], [2, 4, 1], [3, 0, 4]])
    raw_shares = (counts / counts.sum(axis=0)).T
    assert np.abs(raw_shares - ERRS_AT_RANDOM).mean() > 0.09  # what counting alone makes of such images


def test_a_label_that_is_the_answer_where_it_does_not_know_is_worth_less() -> None:
    says_0 = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])
    labels = np.arange(60) % 3
    ((calibrator, _),) = calibrated_statements([stated(drawn(says_0, labels, 3))], labels, np.arange(60) // 3 % 4)
    worth = np.diag(chances(calibrator))
    assert worth[0] < 0.65
    assert (worth[1:] > 0.85).all()


def test_a_stated_number_counts_where_it_tells_right_from_wrong() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2000)
    confidence = rng.choice([0.4, 0.6, 0.9], 2000)
    honest = np.where(rng.random(2000) < confidence, labels, (labels + rng.integers(1, 3, 2000)) % 3)
    vain = np.where(rng.random(2000) < 0.63, labels, (labels + rng.integers(1, 3, 2000)) % 3)
    fitted = calibrated_statements([stated(honest, confidence), stated(vain, confidence)], labels, np.arange(2000) % 5)
    (told, _), (did_not, _) = fitted
    assert told.slope == pytest.approx(1.0, abs=0.15)
    assert did_not.slope == pytest.approx(0.0, abs=0.1)
    worth = [told(stated(np.array([0]), np.array([sure])))[0, 0] for sure in (0.4, 0.6, 0.9)]
    assert worth == pytest.approx([0.4, 0.6, 0.9], abs=0.06)
    assert told(stated(np.array([0]), 1.0))[0, 0] < 0.995  # however sure it says it is


def test_no_image_has_a_say_in_its_own_calibration() -> None:
    labels, folds = np.arange(30) % 3, np.arange(30) // 3 % 5
    raw = stated(drawn(ERRS_AT_RANDOM, labels, 5))
    lies = labels.copy()
    lies[folds == 0] = (labels[folds == 0] + 1) % 3
    prior, shares = ConfusionPrior(0.6, 16.0, 12.0, 16.0), np.full(3, 1 / 3)
    counts = [np.zeros((3, 3)) for _ in range(2)]
    for number, truth in enumerate((labels, lies)):
        for named, label in zip(raw[folds != 0].argmax(axis=1), truth[folds != 0], strict=True):
            counts[number][label, named] += 1
    assert (prior.logs(counts[0], shares) == prior.logs(counts[1], shares)).all()


def test_silence_stays_silence_and_teaches_nothing() -> None:
    labels, folds = np.arange(40) % 2, np.arange(40) // 2 % 4
    raw = stated(labels, c=2)
    raw[30:] = np.nan
    ((calibrator, rows),) = calibrated_statements([raw], labels, folds)
    assert np.isnan(rows[30:]).all()
    assert np.isfinite(rows[:30]).all()
    ((alone, _),) = calibrated_statements([raw[:30]], labels[:30], folds[:30])
    np.testing.assert_allclose(calibrator(stated(np.arange(2), c=2)), alone(stated(np.arange(2), c=2)), atol=1e-9)


def test_who_is_hardly_known_is_expected_to_be_as_good_as_the_others() -> None:
    labels = np.arange(200) % 2
    others = [stated(drawn(np.array([[0.9, 0.1], [0.1, 0.9]]), labels, seed), c=2) for seed in range(6)]
    newcomer = np.full((200, 2), np.nan)
    newcomer[[0, 3]] = stated(np.array([1, 0]), c=2)  # both are wrong
    fitted = calibrated_statements([*others, newcomer], labels, np.arange(200) // 2 % 5)
    assert np.diag(chances(fitted[-1][0], 2)).min() > 0.5
    ((alone, _),) = calibrated_statements([newcomer], labels, np.arange(200) // 2 % 5)
    assert np.diag(chances(alone, 2)).max() < 0.5


def test_labels_are_as_frequent_as_each_other_as_long_as_chance_explains_how_often_they_occur() -> None:
    assert label_shares(np.repeat([0, 1, 2], [10, 7, 3]), 3) == pytest.approx([0.4, 0.34, 0.26], abs=0.01)
    assert label_shares(np.repeat([0, 1], [400, 100]), 2) == pytest.approx([0.8, 0.2], abs=0.01)
    assert label_shares(np.repeat([0, 1], [20, 0]), 2)[0] > 0.8


def test_the_strength_of_an_expectation_is_found() -> None:
    rng = np.random.default_rng(1)
    for strength in (4.0, 16.0):
        rows = np.stack([rng.multinomial(50, rng.dirichlet(strength * np.array([0.5, 0.3, 0.2]))) for _ in range(400)])
        found = likeliest_strength(rows.astype(float), np.tile([0.5, 0.3, 0.2], (400, 1)), USUAL_IMAGES)
        assert found == pytest.approx(strength)
    nothing = np.zeros((3, 4))
    assert likeliest_strength(nothing, np.full((3, 4), 0.25), USUAL_ERRORS_OF_A_LABEL) == USUAL_ERRORS_OF_A_LABEL
    assert drawn_to(nothing[0], np.full(4, 0.25), 4.0) == pytest.approx(np.full(4, 0.25))


def test_how_far_observed_counts_go_from_expected_ones_is_found() -> None:
    """The marginal of a Poisson count whose rate has a Gamma factor of mean 1 is a negative binomial: scipy's."""
    rng = np.random.default_rng(2)
    expected = rng.uniform(1, 30, 3000)
    for images in (4.0, 32.0):
        observed = rng.poisson(expected * rng.gamma(images, 1 / images, 3000))
        assert likeliest_count(observed, expected, 8.0) == images
        values = [nbinom.logpmf(observed, count, count / (count + expected)).sum() for count in STRENGTHS]
        assert STRENGTHS[int(np.argmax(values))] == images
    assert likeliest_count(np.zeros(3), np.zeros(3), 8.0) == 8.0


def test_the_log_odds_of_who_is_certain_are_finite() -> None:
    assert log_odds_of_the_named(np.eye(2)) == pytest.approx(np.log([99, 99]))


def ranking(*labels: int, c: int = 4) -> np.ndarray:
    """An answer that names these labels, most likely first, (1, c)."""
    halved = np.zeros(c)
    halved[list(labels)] = 0.5 ** np.arange(len(labels))
    return np.asarray(halved[None] / halved.sum())


HALF_SURE = ConfusionMatrix(tuple(map(tuple, np.log(np.full((4, 4), 0.5 / 3) + np.eye(4) / 3).tolist())), runner_up=1.0)


def test_what_the_first_leaves_to_the_others_is_shared_out_by_hand() -> None:
    e = np.e
    assert HALF_SURE(ranking(0))[0] == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    others = 0.5 / (e + 2)
    assert HALF_SURE(ranking(0, 2))[0] == pytest.approx([0.5, others, e * others, others])
    others = 0.5 / (e + e**0.5 + 1)
    assert HALF_SURE(ranking(3, 1, 0))[0] == pytest.approx([e**0.5 * others, e * others, others, 0.5])


def test_of_equally_likely_labels_each_is_the_first_in_half_of_the_answer() -> None:
    either = np.array([[0.5, 0.0, 0.5, 0.0]])
    in_turn = (HALF_SURE(ranking(0, 2)) + HALF_SURE(ranking(2, 0))) / 2
    np.testing.assert_allclose(HALF_SURE(either), in_turn)
    counts = Statements.of(np.r_[either, ranking(1, 3)]).counts(np.array([0, 0, 3]))
    assert counts[[0, 0, 3], [0, 2, 1]].tolist() == [0.5, 0.5, 1.0]
    assert counts.sum() == 2.0


def named_second(chance: float, n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rankings of two labels (n, 4): the first is right on half, else the second with this chance; and the labels."""
    rng = np.random.default_rng(seed)
    labels, order = rng.integers(0, 4, n), rng.permuted(np.tile(np.arange(1, 4), (n, 1)), axis=1)
    wrong = (labels[:, None] + order) % 4
    right, second = rng.random(n) < 0.5, rng.random(n) < chance
    first = np.where(right, labels, wrong[:, 0])
    then = np.where(~right & second, labels, wrong[:, 1])
    return np.concatenate([ranking(a, b) for a, b in zip(first, then, strict=True)]), labels


def test_a_second_label_is_worth_what_it_was() -> None:
    for chance in (0.1, 0.8):
        raw, labels = named_second(chance)
        ((calibrator, rows),) = calibrated_statements([raw], labels, np.arange(600) % 5)
        worth = calibrator(ranking(0, 2))[0]
        assert worth[0] == pytest.approx(0.5, abs=0.05)
        assert worth[2] == pytest.approx(0.5 * chance, abs=0.06)
        np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_who_names_one_label_only_is_surer() -> None:
    rng = np.random.default_rng(1)
    labels, sure = rng.integers(0, 4, 900), rng.random(900) < 0.5
    first = np.where(rng.random(900) < np.where(sure, 0.95, 0.5), labels, (labels + 1) % 4)
    raw = np.where(sure[:, None], np.eye(4)[first], np.concatenate([ranking(x, (x + 2) % 4) for x in first]))
    ((calibrator, _),) = calibrated_statements([raw], labels, np.arange(900) % 5)
    assert calibrator(ranking(0))[0, 0] == pytest.approx(0.95, abs=0.05)
    assert calibrator(ranking(0, 2))[0, 0] == pytest.approx(0.5, abs=0.06)


def test_who_named_several_labels_gives_a_new_one_nothing() -> None:
    raw = np.r_[ranking(2, 0), ranking(1), np.full((1, 4), np.nan)]
    assert with_room(raw)[0] == pytest.approx([1 / 3, 0, 2 / 3, 0, 0])
    assert states_labels(with_room(raw)[:2])


def test_no_label_is_preferred_to_another() -> None:
    raw, labels = named_second(0.5, 80, 3)
    raw[::7] = np.array([0.5, 0.5, 0, 0])
    turned = np.array([2, 0, 3, 1])
    ((_, rows),) = calibrated_statements([raw], labels, np.arange(80) % 4)
    ((_, again),) = calibrated_statements([raw[:, turned]], turned.argsort()[labels], np.arange(80) % 4)
    np.testing.assert_allclose(again, rows[:, turned], atol=1e-9)
