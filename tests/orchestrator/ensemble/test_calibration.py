"""Calibrators find what was done to probabilities, and no image has a say in its own calibration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from consilience.agents.base import softmax
from consilience.agents.heads.model_selection import soft_targets
from consilience.orchestrator.ensemble.calibration import (
    CALIBRATORS,
    FITTED,
    FITTED_TO_AGENTS,
    FITTED_TO_HEADS,
    ORDER_KEEPING,
    fit_calibrator,
    from_dict,
    states_labels,
    states_one_number,
    to_dict,
)
from consilience.orchestrator.ensemble.confusion import ConfusionMatrix
from consilience.orchestrator.ensemble.scaling import (
    IMAGES_FOR_MORE_PARAMETERS,
    Calibrator,
    ConfidenceDiscount,
    ConfusionScaling,
    FittedCalibrator,
    HeadTemperatureScaling,
    IsotonicScaling,
    TemperatureScaling,
    VectorScaling,
)
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error

Distort = Callable[[np.ndarray], np.ndarray]


def drawn(honest: np.ndarray, seed: int) -> np.ndarray:
    """A label for each row (n, c), drawn with its probabilities."""
    cumulative = honest.cumsum(axis=1)
    return np.asarray((np.random.default_rng(seed).random((len(honest), 1)) > cumulative).sum(axis=1))


def honest_rows(n: int, c: int = 4, seed: int = 0, spread: float = 2.0) -> np.ndarray:
    return softmax(spread * np.random.default_rng(seed).standard_normal((n, c)))


def folds_of(n: int, count: int = 5) -> np.ndarray:
    return np.arange(n) % count


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    honest = honest_rows(4000)
    claimed = softmax(np.log(honest) * temperature)
    scaling = TemperatureScaling.fit(claimed, drawn(honest, 1))
    assert scaling.temperature == pytest.approx(temperature, rel=0.06)
    np.testing.assert_allclose(scaling(claimed), honest, atol=0.03)


def test_a_known_scale_and_shift_of_each_label_is_found() -> None:
    honest, shift = honest_rows(6000, c=3), np.array([1.5, 0.0, -1.5])
    claimed = softmax(np.log(honest) * 2 + shift)
    scaling = VectorScaling.fit(claimed, drawn(honest, 1))
    np.testing.assert_allclose(scaling(claimed), honest, atol=0.05)
    assert np.diff(scaling.shift) == pytest.approx([0.75, 0.75], abs=0.2)


def test_a_bent_curve_is_straightened() -> None:
    honest = honest_rows(4000, c=2)
    claimed = np.where(honest > 0.5, 1 - 2 * (1 - honest) ** 2, 2 * honest**2)
    scaled = IsotonicScaling.fit(claimed, drawn(honest, 1))(claimed)
    assert np.abs(scaled - honest).mean() < 0.02 < np.abs(claimed - honest).mean()


def test_targets_are_softened_by_one_image_of_unknown_label() -> None:
    np.testing.assert_allclose(soft_targets(np.array([0, 1, 1]), 2), [[7 / 8, 1 / 8], [1 / 8, 7 / 8], [1 / 8, 7 / 8]])


@pytest.mark.parametrize("n", [10, 40, 160])
def test_the_temperature_of_a_constant_word_has_a_closed_form(n: int) -> None:
    claimed = np.tile([0.9, 0.1], (n, 1))
    calibrated = TemperatureScaling.fit(claimed, np.zeros(n, int))(claimed)
    assert calibrated[0, 0] == pytest.approx(1 - 1 / (2 * (n + 1)), abs=1e-5)


@pytest.mark.parametrize(("shots", "believed"), [(1, 1.0), (7, 1.0), (8, np.exp(-0.3)), (50, np.exp(-0.3))])
def test_where_images_say_nothing_of_a_head_its_usual_temperature_stays(shots: int, believed: float) -> None:
    labels = np.repeat(np.arange(4), shots)
    nothing = np.full((len(labels), 4), 0.25)  # the same at any temperature
    assert HeadTemperatureScaling.fit(nothing, labels).temperature == pytest.approx(believed, rel=1e-3)


def test_one_bad_mistake_of_16_does_not_decide_the_temperature_of_a_head() -> None:
    labels = np.repeat(np.arange(4), 4)
    claimed = softmax(3 * np.eye(4)[labels])
    claimed[0] = claimed[0, ::-1]  # as sure of a wrong label
    sure = softmax(4 * np.log(claimed))
    assert TemperatureScaling.fit(sure, labels).temperature > 3
    assert 1.0 < HeadTemperatureScaling.fit(sure, labels).temperature < 1.5


def test_many_images_overrule_what_is_believed_of_a_head() -> None:
    honest = honest_rows(8000)
    scaling = HeadTemperatureScaling.fit(softmax(2 * np.log(honest)), drawn(honest, 1))
    assert scaling.temperature == pytest.approx(2.0, rel=0.06)


def test_one_image_more_than_too_few_opens_the_choice_of_calibrators() -> None:
    honest = honest_rows(IMAGES_FOR_MORE_PARAMETERS, c=3)
    labels = drawn(honest, 0)
    shifted = softmax(np.log(honest) + np.array([4.0, 0.0, -4.0]))  # what only shifts can mend
    fewer = slice(0, IMAGES_FOR_MORE_PARAMETERS - 1)
    assert (
        fit_calibrator(shifted[fewer], labels[fewer], folds_of(IMAGES_FOR_MORE_PARAMETERS)[fewer])[0].kind
        == "temperature"
    )
    assert fit_calibrator(shifted, labels, folds_of(IMAGES_FOR_MORE_PARAMETERS))[0].kind == "vector"


@pytest.mark.parametrize("n", [10, 40, 160])
@pytest.mark.parametrize("c", [2, 4])
def test_right_on_all_of_n_images_is_no_certainty(n: int, c: int) -> None:
    labels = np.arange(n) % c
    calibrator, rows = fit_calibrator(np.eye(c)[labels], labels, folds_of(n))
    assert calibrator(np.eye(c)).max() == pytest.approx(1 - (1 - 1 / c) / (n + 1), abs=1e-4)
    assert rows.max() == pytest.approx(1 - (1 - 1 / c) / (0.8 * n + 1), abs=1e-4)  # fitted on the other four fifths


@pytest.mark.parametrize("kind", ["temperature", "vector", "isotonic"])
def test_an_image_has_no_say_in_its_own_calibration(kind: str) -> None:
    distort: dict[str, Distort] = {
        "temperature": lambda p: softmax(np.log(p) * 3),
        "vector": lambda p: softmax(np.log(p) + np.array([4.0, 0, -4.0])),
        "isotonic": lambda p: 0.5 + np.sign(p - 0.5) * (0.4 + 0.1 * np.abs(p - 0.5)),
    }
    honest, folds = honest_rows(300, c=2 if kind == "isotonic" else 3), folds_of(300)
    claimed, labels = distort[kind](honest), drawn(honest, 5)
    chosen, rows = fit_calibrator(claimed, labels, folds)
    assert chosen.kind == kind
    lies = np.where(np.arange(300) == 7, 1 - np.minimum(labels, 1), labels)  # image 7 lies in fold 2
    again, changed = fit_calibrator(claimed, lies, folds)
    assert again.kind == kind
    assert np.array_equal(changed[folds == 2], rows[folds == 2])
    assert not np.array_equal(changed[folds == 3], rows[folds == 3])
    others = FITTED[kind].fit(claimed[folds != 2], labels[folds != 2])
    assert np.array_equal(rows[folds == 2], others(claimed[folds == 2]))
    assert chosen == FITTED[kind].fit(claimed, labels)


def test_honest_probabilities_keep_the_simplest_calibrator_and_their_values() -> None:
    honest = honest_rows(3000)
    chosen, rows = fit_calibrator(honest, drawn(honest, 3), folds_of(3000))
    assert isinstance(chosen, TemperatureScaling)
    np.testing.assert_allclose(rows, honest, atol=0.02)


def held_out_losses(claimed: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> dict[str, np.ndarray]:
    """Log loss (n,) of each kind against the softened targets, each row by a calibrator fitted on the other folds."""
    losses, targets = {}, soft_targets(labels, claimed.shape[1])
    for name, kind in FITTED.items():
        rows = np.empty_like(claimed)
        for fold in np.unique(folds):
            rows[folds == fold] = kind.fit(claimed[folds != fold], labels[folds != fold])(claimed[folds == fold])
        losses[name] = -(targets * np.log(rows)).sum(axis=1)
    return losses


def beats(loss: dict[str, np.ndarray], better: str, other: str) -> bool:
    gain = loss[other] - loss[better]
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def test_a_gain_within_the_noise_does_not_decide() -> None:
    honest, folds = honest_rows(120, c=3), folds_of(120)
    claimed = softmax(np.log(honest) + np.array([0.5, 0, 0]))  # a little off, in the way that 'vector' mends
    undecided = 0
    for seed in range(6):
        labels = drawn(honest, seed)
        loss = held_out_losses(claimed, labels, folds)
        chosen = fit_calibrator(claimed, labels, folds)[0].kind
        assert chosen != ("temperature" if beats(loss, "vector", "temperature") else "vector")
        undecided += loss["vector"].mean() < loss["temperature"].mean() and chosen != "vector"
    assert undecided > 0  # cases in which a plain comparison would have taken the other


@pytest.mark.parametrize(("n", "spread", "seed"), [(24, 2.0, 3), (40, 2.0, 4), (40, 5.0, 4), (60, 3.0, 4)])
def test_boasting_about_few_labels_is_no_gain(n: int, spread: float, seed: int) -> None:
    """With hard targets the choice would fall on a more complex kind, which is only more certain."""
    honest, folds = honest_rows(n, c=3, seed=seed, spread=spread), folds_of(n)
    labels = drawn(honest, seed)
    loss = held_out_losses(honest, labels, folds)
    assert not beats(loss, "vector", "temperature")
    assert not beats(loss, "isotonic", "temperature")
    assert fit_calibrator(honest, labels, folds)[0].kind == "temperature"


def test_the_vector_is_drawn_towards_the_temperature_by_a_known_measure() -> None:
    honest = honest_rows(30, c=2)
    labels = drawn(honest, 4)
    targets, start = soft_targets(labels, 2), 1 / TemperatureScaling.fit(honest, labels).temperature

    def loss(parameters: np.ndarray) -> float:
        scaled = softmax(np.log(honest) * parameters[:2] + parameters[2:])
        drift = parameters - np.array([start, start, 0, 0])
        return float(-(targets * np.log(scaled)).sum() + drift @ drift / 2)

    best = minimize(loss, np.array([1.0, 1.0, 0.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
    scaling = VectorScaling.fit(honest, labels)
    assert [*scaling.scale, *scaling.shift] == pytest.approx(best.x.tolist(), abs=1e-3)


@pytest.mark.parametrize("said", [0.0, 1.0])
def test_no_scale_or_shift_leaves_its_bounds(said: float) -> None:
    """Who is surest where it is wrong would be believed the other way round; nobody is: scales end at 0."""
    labels = np.arange(200) % 2
    rows = np.full((200, 2), 1e-5)
    rows[np.arange(200), labels if said else 1 - labels] = 1 - 1e-5
    scaling = VectorScaling.fit(rows, labels)
    assert all(0 <= scale <= 20 for scale in scaling.scale)
    assert all(abs(shift) <= 20 for shift in scaling.shift)
    right = scaling(rows)[np.arange(200), labels]
    assert (right > 0.99).all() if said else np.abs(right - 0.5).max() < 0.02


@pytest.mark.parametrize(("n", "c", "digits"), [(1, 2, 9), (2, 3, 9), (40, 3, 1), (300, 5, 9), (300, 5, 2)])
def test_the_curve_is_the_isotonic_regression_of_all_targets(n: int, c: int, digits: int) -> None:
    honest = honest_rows(n, c)
    labels, rows = drawn(honest, 1), honest.round(digits)
    curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(rows.ravel(), soft_targets(labels, c).ravel())
    scaling, everywhere = IsotonicScaling.fit(rows, labels), np.linspace(rows.min(), rows.max(), 1000)
    np.testing.assert_allclose(np.interp(everywhere, scaling.x, scaling.y), curve.predict(everywhere), atol=1e-9)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_calibration_lowers_log_loss_and_calibration_error_of_new_answers(scale: float) -> None:
    honest = honest_rows(2000)
    claimed, labels = softmax(np.log(honest) * scale), drawn(honest, 2)
    calibrator, _ = fit_calibrator(claimed[:1000], labels[:1000], folds_of(1000))
    raw, new = claimed[1000:], calibrator(claimed[1000:])
    right = new.argmax(axis=1) == labels[1000:]
    assert log_loss(labels[1000:], new) < log_loss(labels[1000:], raw) - 0.02
    assert expected_calibration_error(new.max(axis=1), right) < 0.05
    assert expected_calibration_error(raw.max(axis=1), raw.argmax(axis=1) == labels[1000:]) > 0.1


def test_a_confidence_is_lowered_by_the_calibration_error_down_to_chance() -> None:
    lowered = ConfidenceDiscount(0.3)
    np.testing.assert_allclose(lowered(np.array([[0.9, 0.1, 0.0, 0.0]])).max(axis=1), [0.6])
    np.testing.assert_allclose(lowered(np.array([[1.0, 0.0]])), [[0.7, 0.3]])
    np.testing.assert_allclose(lowered(np.array([[0.4, 0.3, 0.3, 0.0], [0.25] * 4])), np.full((2, 4), 0.25))


ROWS = arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.floats(0, 1)).map(
    lambda a: (a + (a.sum(axis=1, keepdims=True) == 0)) / (a + (a.sum(axis=1, keepdims=True) == 0)).sum(1)[:, None]
)
ANY_CALIBRATOR = st.one_of(
    st.floats(0.05, 20).map(TemperatureScaling),
    st.floats(0, 1).map(ConfidenceDiscount),
    st.tuples(st.floats(0.05, 20).map(TemperatureScaling), st.tuples(*[st.tuples(*[st.floats(-20, 20)] * 3)] * 3)).map(
        lambda x: ConfusionScaling(*x)
    ),
    st.tuples(*[st.floats(0, 20)] * 3, *[st.floats(-20, 20)] * 3).map(lambda x: VectorScaling(x[:3], x[3:])),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6).map(
        lambda points: IsotonicScaling(tuple(sorted(x for x, _ in points)), tuple(sorted(y for _, y in points)))
    ),
)


TINY = np.array([[1e-313, 0.5, 0.5]])
"""As the exponential of a language model's log probabilities may be: less than the smallest normal number."""


@given(ANY_CALIBRATOR, ROWS)
@example(IsotonicScaling((0.0, 2.2e-311), (0.0, 1.0)), TINY)
def test_calibrated_rows_are_probabilities(calibrator: Calibrator, rows: np.ndarray) -> None:
    calibrated = calibrator(rows)
    assert np.isfinite(calibrated).all()
    assert (calibrated >= 0).all()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0, atol=1e-12)


@given(ANY_CALIBRATOR.filter(lambda calibrator: not isinstance(calibrator, VectorScaling | ConfusionScaling)), ROWS)
def test_all_without_shifts_keep_the_order_of_the_labels(calibrator: Calibrator, rows: np.ndarray) -> None:
    calibrated = calibrator(rows)
    for before, after in zip(rows, calibrated, strict=True):
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= -1e-12).all()
        if np.sort(before)[-1] > np.sort(before)[-2] + 1e-5 and after.max() > 1 / 3 + 1e-9:
            assert after.argmax() == before.argmax()


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_each_of_the_registry_is_read_back_as_it_was_written(kind: str) -> None:
    honest = honest_rows(200)
    calibrator: Calibrator = ConfidenceDiscount(0.25)
    if kind == ConfusionMatrix.kind:
        calibrator = ConfusionMatrix(tuple(map(tuple, np.log(honest[:4]).tolist())), 0.5, 1.2)
    elif kind == ConfusionScaling.kind:
        calibrator = ConfusionScaling.over(calibrator, honest, drawn(honest, 1), drawn(honest, 2), 1.0)
    elif kind != ConfidenceDiscount.kind:
        calibrator = FITTED[kind].fit(softmax(2 * np.log(honest)), drawn(honest, 1))
    restored = from_dict(json.loads(json.dumps(to_dict(calibrator))))
    assert calibrator.kind == kind
    assert restored == calibrator
    assert np.array_equal(restored(honest), calibrator(honest))


@pytest.mark.parametrize("fitted", [FITTED, FITTED_TO_HEADS, FITTED_TO_AGENTS, ORDER_KEEPING], ids=len)
def test_whatever_an_agent_may_get_a_panel_can_hold(fitted: Mapping[str, type[FittedCalibrator]]) -> None:
    honest = honest_rows(200)
    for kind, calibrator_class in fitted.items():
        calibrator = calibrator_class.fit(honest, drawn(honest, 1))
        assert from_dict(json.loads(json.dumps(to_dict(calibrator)))) == calibrator
        assert calibrator.kind == kind


def test_what_is_not_in_the_registry_is_not_written() -> None:
    class Unknown(ConfidenceDiscount):
        kind = "unknown"

    with pytest.raises(ValueError, match="Unknown is no entry of CALIBRATORS"):
        to_dict(Unknown(0.1))
    with pytest.raises(KeyError):
        from_dict({"kind": "unknown", "by": 0.1})


@given(ANY_CALIBRATOR, ROWS)
def test_a_calibrator_survives_json(calibrator: Calibrator, rows: np.ndarray) -> None:
    restored = from_dict(json.loads(json.dumps(to_dict(calibrator))))
    assert restored == calibrator
    assert np.array_equal(restored(rows), calibrator(rows))


@pytest.mark.parametrize("kind", FITTED.values(), ids=list(FITTED))
def test_an_agent_that_always_says_the_same_can_be_calibrated(kind: type[TemperatureScaling]) -> None:
    claimed, labels = np.tile([1.0, 0.0, 0.0], (20, 1)), np.arange(20) % 2
    calibrated = kind.fit(claimed, labels)(claimed)
    assert np.isfinite(calibrated).all()
    assert calibrated[0, 0] < 0.65  # it is right on every second image


def stated(named: np.ndarray, confidence: float, c: int = 3) -> np.ndarray:
    """The distributions of an agent that names a label and states one number."""
    return np.where(np.eye(c, dtype=bool)[named], confidence, (1 - confidence) / (c - 1))


def test_the_shifts_by_hand() -> None:
    """Ten images, x named 6 times: 2 of label x, 4 of y, where 3 of each were expected."""
    named, labels = np.repeat([0, 1], [6, 4]), np.array([0, 0, 1, 1, 1, 1, 0, 1, 1, 1])
    shifts = ConfusionScaling.over(TemperatureScaling(1.0), np.full((10, 2), 0.5), named, labels, 2.0).shifts
    np.testing.assert_allclose(np.exp(shifts), [[4 / 5, 6 / 5], [3 / 4, 5 / 4]])


@pytest.mark.parametrize("n", [12, 40, 400])
def test_swapped_labels_are_put_right_from_few_images_on(n: int) -> None:
    """It is sure of one label where the other is true; the third it knows."""
    honest = honest_rows(n + 1000, c=3, spread=3.0)
    labels = drawn(honest, 1)
    swapped = honest[:, [1, 0, 2]]
    fitted, _ = fit_calibrator(swapped[:n], labels[:n], folds_of(n, 4), by_name=True)
    plain, _ = fit_calibrator(swapped[:n], labels[:n], folds_of(n, 4))
    new, truth = swapped[n:], np.eye(3)[labels[n:]] > 0
    assert np.log(fitted(new)[truth]).mean() > np.log(plain(new)[truth]).mean() + 0.1
    if n >= 40:
        assert (fitted(new).argmax(axis=1) == labels[n:]).mean() > (
            honest[n:].argmax(axis=1) == labels[n:]
        ).mean() - 0.05


@pytest.mark.parametrize("n", [30, 120, 900])
def test_of_an_honest_agent_what_it_named_adds_nothing_and_costs_little(n: int) -> None:
    losses = []
    for seed in range(8):
        honest = honest_rows(n + 1000, c=3, seed=seed)
        labels = drawn(honest, seed)
        truth = np.eye(3)[labels[n:]] > 0
        fitted, _ = fit_calibrator(honest[:n], labels[:n], folds_of(n), by_name=True)
        losses.append(-np.log(fitted(honest[n:])[truth]).mean() + np.log(honest[n:][truth]).mean())
    assert np.mean(losses) < (0.06 if n == 30 else 0.025)


def test_where_the_names_mislead_the_other_calibrator_stays() -> None:
    """What was named is right in one half of the images and wrong in the other, but the probabilities tell which."""
    labels = np.arange(400) % 2
    claimed = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    folds = np.arange(400) // 200
    calibrator, rows = fit_calibrator(claimed, labels, folds, {"temperature": TemperatureScaling}, by_name=True)
    plain, plain_rows = fit_calibrator(claimed, labels, folds, {"temperature": TemperatureScaling})
    assert log_loss(labels, rows[:, 1]) <= log_loss(labels, plain_rows[:, 1]) + 0.005
    assert calibrator(claimed)[0, 0] == pytest.approx(plain(claimed)[0, 0], abs=0.01)


def test_who_states_one_number_is_known_by_it() -> None:
    words = stated(np.array([0, 1, 2]), 0.9)
    assert states_one_number(words)
    assert states_one_number(np.full((2, 3), 1 / 3))
    assert not states_one_number(np.r_[words, honest_rows(1, c=3)])
    assert not states_one_number(words[:, :2])  # of two labels, that tells nothing
    assert states_labels(words)
    assert states_labels(np.eye(2))
    assert not states_labels(words[:, :2])
