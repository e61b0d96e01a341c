"""What judges an agent is out of fold: no image has a say in the trust or the weights that it is judged by."""

from __future__ import annotations

import numpy as np
import pytest

from consilience.agents import LabelledFeatures
from consilience.agents.base import softmax
from consilience.agents.heads.folds import UNJUDGED
from consilience.core.errors import AgentError
from consilience.core.prediction import Prediction
from consilience.core.task import Task
from consilience.orchestrator.decision.second_look import NO_LABEL
from consilience.orchestrator.decision.threshold import choose_threshold
from consilience.orchestrator.ensemble.calibration import fit_calibrator
from consilience.orchestrator.ensemble.cross_fitting import FIVE_FOLDS_FROM, FOLDS, exact_inputs, split_into_folds
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.trust_metrics import measure
from consilience.orchestrator.fitting.collect import MemberAnswers
from consilience.orchestrator.fitting.expected_errors import error_prior_of
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import (
    FittedEnsemble,
    fit_agents,
    fit_ensemble,
)
from consilience.retrieval.memory.labelled_images import LabelledImages

TASK = Task.from_labels(["ash", "elm", "fir"])


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def fitted_on(data: LabelledFeatures, kinds: tuple[str, ...]) -> FittedEnsemble:
    nothing = LabelledImages((), (), (), np.empty((0, data.features.shape[1]), np.float32))
    return fit_agents(FitContext(TASK, nothing, data, neighbours=5, seed=0), kinds)


@pytest.mark.parametrize(
    ("counts", "folds"),
    [((2, 2, 2), 2), ((3, 50, 9), 9), ((40, 40, 40), FOLDS), ((FIVE_FOLDS_FROM, FIVE_FOLDS_FROM, FIVE_FOLDS_FROM), 5)],
)
def test_folds_are_stratified_and_no_label_is_ever_missing(counts: tuple[int, ...], folds: int) -> None:
    labels = np.repeat(np.arange(3), counts)
    split = split_into_folds(labels, seed=1)
    assert set(split) == set(range(folds))
    for label, count in enumerate(counts):
        sizes = np.bincount(split[labels == label], minlength=folds)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == count
        assert sizes.max() < count  # so that heads know every label, whatever is held out
    assert np.array_equal(split, split_into_folds(labels, seed=1))
    assert not np.array_equal(split, split_into_folds(labels, seed=2))


def test_the_only_image_of_a_label_is_learned_from_and_never_judged() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    assert (split_into_folds(labels, seed=0) == UNJUDGED).tolist() == (labels == 1).tolist()
    rng = np.random.default_rng(0)
    data = LabelledFeatures(unit(np.eye(3, 8)[labels] + 0.1 * rng.standard_normal((6, 8))), labels, 3)
    fitted = fitted_on(data, ("probe", "gaussian"))
    assert [member.trust.n for member in fitted.members] == [5, 5]
    assert len(fitted.calibration_set.correct) == 5
    for head in fitted.heads:
        assert head.predict_proba(exact_inputs(TASK, data, unit(np.eye(3, 8)))).argmax(axis=1).tolist() == [0, 1, 2]


def test_with_one_image_a_label_agents_are_weighed_by_the_prior_and_nothing_is_claimed() -> None:
    data = LabelledFeatures(unit(np.eye(3, 8)), np.arange(3), 3)
    fitted = fitted_on(data, ("neighbours", "probe", "gaussian"))
    assert [(member.trust.n, member.trust.accuracy) for member in fitted.members] == [(0, None)] * 3
    assert len(fitted.calibration_set.correct) == 0
    assert choose_threshold(fitted.calibration_set, 0.95, 0.1).probability is None  # all is referred
    weights = fitted.fusion.weights(np.ones((1, 3), dtype=bool))[0]
    assert weights[1] == pytest.approx(weights[2])
    assert weights[0] < weights[1] / 4  # neighbours are known to tell less, and nothing that the probe does not


def test_the_prior_gives_way_to_what_images_tell() -> None:
    """Two heads of which the one that is believed to be worse is right on all images."""
    labels = np.arange(400) % 3
    good, bad = 0.9 * np.eye(3)[labels] + 0.1 / 3, np.full((400, 3), 1 / 3)
    predictions, prior = np.stack([good, bad]), error_prior_of(["neighbours", "probe"], 3)
    few, many = (Fusion.from_predictions(predictions[:, :n], labels[:n], prior=prior) for n in (3, 400))
    both = np.ones((1, 2), dtype=bool)
    assert few.weights(both)[0, 0] < 0.7 * many.weights(both)[0, 0]
    assert many.weights(both)[0, 1] < 0.05


def test_agents_that_are_no_heads_err_independently_a_priori() -> None:
    prior = error_prior_of(["qwen", "gpt", "gaussian"], 400)
    assert prior.covariance.tolist() == np.eye(3).tolist()
    assert prior.sources.tolist() == [0, 1, 2]
    assert prior.pseudo_counts[0] == prior.pseudo_counts[1] < prior.pseudo_counts[2] == 400


def test_heads_that_do_about_as_well_share_the_weight_however_many_images_there_are() -> None:
    """Two heads that say nearly the same: which errs less is a matter of chance."""
    rng, labels = np.random.default_rng(0), np.arange(1000) % 3
    seen = 2.0 * np.eye(3)[labels] + rng.standard_normal((1000, 3))
    predictions = np.stack([softmax(seen + 0.02 * rng.standard_normal((1000, 3))) for _ in range(2)])
    fusion = Fusion.from_predictions(predictions, labels, prior=error_prior_of(["tip-adapter", "neighbours"], 1000))
    weights = fusion.weights(np.ones((1, 2), dtype=bool))[0]
    assert weights == pytest.approx([weights.mean()] * 2, rel=0.1)


def test_labels_by_chance_earn_no_trust_and_settle_nothing() -> None:
    rng = np.random.default_rng(0)
    data = LabelledFeatures(unit(rng.standard_normal((150, 40))), rng.integers(0, 3, 150), 3)
    fitted = fitted_on(data, ("neighbours", "gaussian", "tip-adapter"))
    for head, member in zip(fitted.heads, fitted.members, strict=True):
        assert member.trust.accuracy is not None
        assert member.trust.accuracy < 0.5
        assert member.trust.n == 150
        new = unit(rng.standard_normal((100, 40)))
        assert member.calibrator(head.predict_proba(exact_inputs(TASK, data, new))).max(axis=1).mean() < 0.8
    assert fitted.calibration_set.correct.mean() < 0.5
    assert fitted.calibration_set.probability.max() < 0.8


def features_of(labels: np.ndarray) -> LabelledFeatures:
    """Vectors near a corner for each label: how looks are weighed does not depend on them."""
    rows = np.eye(3, 8)[labels] + 0.1 * np.random.default_rng(0).standard_normal((len(labels), 8))
    return LabelledFeatures(unit(rows), labels, 3)


def looks(labels: np.ndarray) -> list[MemberAnswers]:
    rng = np.random.default_rng(0)
    truth = np.eye(3)[labels]
    predictions = [softmax(3 * (skill * truth + rng.standard_normal((len(labels), 3)))) for skill in (1.5, 1.0, 2.0)]
    return [
        MemberAnswers("one", "first", predictions[0]),
        MemberAnswers("two", "first", predictions[1]),
        MemberAnswers("one", "second", predictions[2], 0.5),
    ]


def test_the_posterior_of_an_image_comes_from_weights_that_were_fitted_on_others() -> None:
    labels, folds = np.arange(200) % 3, np.arange(200) // 3 % 5
    answers = looks(labels)
    fitted = fit_ensemble((), answers, TASK, features_of(labels), folds)
    members, fusion, calibration_set, seen = fitted.members, fitted.fusion, fitted.calibration_set, fitted.second_looks
    calibrated = np.stack([fit_calibrator(look.raw, labels, folds)[1] for look in answers])
    prior = error_prior_of([look.agent for look in answers], len(labels))
    first = np.where(np.array([True, True, False])[:, None, None], calibrated, np.nan)
    again = np.where(np.array([False, True, True])[:, None, None], calibrated, np.nan)
    for fold in range(5):
        here = folds == fold
        others = Fusion.from_predictions(calibrated[:, ~here], labels[~here], first[:, ~here], prior)
        assert others.base.tolist() != fusion.base.tolist()
        for measured, words in ((calibration_set, first), (calibration_set.again["one"], again)):
            posterior, _ = others.posterior(words[:, here])
            assert np.array_equal(measured.probability[here], posterior.max(axis=1))
            assert np.array_equal(measured.correct[here], posterior.argmax(axis=1) == labels[here])
    for member, look, rows in zip(members, answers, calibrated, strict=True):
        assert member.trust == measure(look.agent, look.stage, rows, labels, TASK.names)
        assert member.cost_usd == look.cost_usd
    assert seen.agents == ("one",)
    assert np.array_equal(seen.words[0], calibrated[2])
    assert np.array_equal(seen.named[0], answers[0].raw.argmax(axis=1))
    assert np.array_equal(seen.labels, labels)


def test_where_the_second_look_is_silent_the_first_stands() -> None:
    labels, folds = np.arange(200) % 3, np.arange(200) // 3 % 5
    answers = looks(labels)
    answers[0].raw[:10], answers[2].raw[:20] = np.nan, np.nan
    fitted = fit_ensemble((), answers, TASK, features_of(labels), folds)
    calibration_set, seen = fitted.calibration_set, fitted.second_looks
    assert np.array_equal(calibration_set.probability[:20], calibration_set.again["one"].probability[:20])
    assert not np.isclose(calibration_set.probability[20:], calibration_set.again["one"].probability[20:]).any()
    assert (seen.named[0][:10] == NO_LABEL).all()
    assert np.isnan(seen.words[0][:20]).all()


def test_a_threshold_is_chosen_on_first_looks_only() -> None:
    labels, folds = np.arange(200) % 3, np.arange(200) // 3 % 5
    answers = looks(labels)
    with_second = fit_ensemble((), answers, TASK, features_of(labels), folds).calibration_set
    first_only = fit_ensemble((), answers[:2], TASK, features_of(labels), folds).calibration_set
    np.testing.assert_allclose(with_second.probability, first_only.probability, atol=0.02)


def test_two_agents_of_one_name_or_none_are_refused() -> None:
    data = LabelledFeatures(unit(np.eye(6)), np.arange(6) % 3, 3)
    for kinds in ((), ("gaussian", "gaussian")):
        with pytest.raises(AgentError, match="at least one agent, and each name once"):
            fitted_on(data, kinds)


def test_heads_are_one_source_and_an_agent_with_its_second_look_another() -> None:
    prior = error_prior_of(["neighbours", "qwen", "probe", "gpt", "qwen"], 10)
    assert prior.sources.tolist() == [0, 1, 0, 2, 1]


def test_an_agent_is_calibrated_by_what_it_names_and_a_head_is_not() -> None:
    def answers(*rows: list[float]) -> MemberAnswers:
        predictions = [Prediction("qwen", probabilities=dict(zip(TASK.names, row, strict=True))) for row in rows]
        return MemberAnswers.of("qwen", "first", [*predictions, Prediction("qwen", abstained=True)], TASK)

    words, distributions = answers([0.8, 0.1, 0.1], [0.3, 0.4, 0.3]), answers([0.8, 0.1, 0.1], [0.2, 0.5, 0.3])
    assert words.in_words
    assert not distributions.in_words
    assert "vector" in distributions.calibrators
    assert words.by_name
    assert distributions.by_name
    assert not MemberAnswers("probe", "first", np.eye(3)).by_name
