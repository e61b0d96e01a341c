"""What agents are worth by agreement alone: known answers, planted confusions, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.agents.base import one_hot
from consilience.orchestrator.ensemble.agreement import AgreedLabels, agreed_labels, agreement_beyond_chance
from consilience.orchestrator.ensemble.confusion import ConfusionMatrix
from consilience.orchestrator.ensemble.scaling import TemperatureScaling


def stated(named: np.ndarray, labels: int) -> np.ndarray:
    """Return labels (a, n) as answers (a, n, c); -1: none."""
    raw = one_hot(np.maximum(named, 0).ravel(), labels).reshape(*named.shape, labels)
    return np.where((named < 0)[:, :, None], np.nan, raw)


def planted(confusions: np.ndarray, images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return answers (a, n, c) of agents with these confusion matrices (a, c, c) [y, x], and the truth."""
    random, labels = np.random.default_rng(seed), confusions.shape[1]
    truth = random.integers(labels, size=images)
    named = [[random.choice(labels, p=matrix[y]) for y in truth] for matrix in confusions]
    return stated(np.array(named), labels), truth


def shares_of(agreed: AgreedLabels) -> np.ndarray:
    assert agreed.fusion.log_prior is not None
    return np.asarray(np.exp(agreed.fusion.log_prior))


def with_accuracy(accuracy: float, labels: int) -> np.ndarray:
    """Return the confusion matrix of an agent that errs at random."""
    wrong = (1 - accuracy) / (labels - 1)
    return np.full((labels, labels), wrong) + np.eye(labels) * (accuracy - wrong)


def test_agreement_beyond_chance_is_that_of_the_published_example() -> None:
    """Krippendorff, 'Computing Krippendorff's Alpha-Reliability' (2011), section C: four observers, missing data."""
    named = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ]
    )
    alpha, low = agreement_beyond_chance(stated(named - 1, 5))
    assert alpha == pytest.approx(0.743, abs=5e-4)
    assert 0.4 < low < 0.7


def test_answers_by_chance_agree_no_more_than_chance_and_one_image_tells_nothing() -> None:
    named = np.random.default_rng(0).integers(3, size=(4, 300))
    alpha, low = agreement_beyond_chance(stated(named, 3))
    assert alpha == pytest.approx(0, abs=0.03)
    assert low < 0
    assert agreement_beyond_chance(stated(np.array([[0], [1], [1]]), 2))[1] == -1


def test_planted_confusions_are_recovered_and_an_agent_that_swaps_two_labels_is_read_the_other_way() -> None:
    swaps = with_accuracy(0.9, 3)[[1, 0, 2]]
    confusions = np.stack([with_accuracy(0.85, 3), with_accuracy(0.75, 3), with_accuracy(0.6, 3), swaps])
    raw, truth = planted(confusions, 600)
    agreed = agreed_labels(raw)
    np.testing.assert_allclose(agreed.confusion, confusions, atol=0.08)
    np.testing.assert_allclose(agreed.accuracy[:3], [0.85, 0.75, 0.6], atol=0.05)
    votes = raw.sum(axis=0)
    right, by_vote = (agreed.posterior.argmax(axis=1) == truth).mean(), (votes.argmax(axis=1) == truth).mean()
    assert right > by_vote + 0.05
    assert isinstance(agreed.calibrators[3], ConfusionMatrix)
    assert agreed.calibrators[3](np.eye(3))[0].argmax() == 1  # it says the first label: it is the second


def test_the_posterior_is_bayes_rule_with_tempered_words() -> None:
    """Worked out image by image from the confusion matrices: four answers an image, each counts 4^-0.75."""
    raw, _ = planted(np.stack([with_accuracy(share, 2) for share in (0.9, 0.8, 0.7, 0.6)]), 50)
    agreed = agreed_labels(raw)
    shares = shares_of(agreed)
    assert shares.sum() == pytest.approx(1)
    for image, posterior in enumerate(agreed.posterior):
        product = [
            shares[y] * np.prod([agreed.confusion[a, y, raw[a, image].argmax()] ** (4**-0.75) for a in range(4)])
            for y in range(2)
        ]
        np.testing.assert_allclose(posterior, np.array(product) / sum(product), atol=1e-6)


def test_two_agents_that_always_agree_count_the_same() -> None:
    named = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    agreed = agreed_labels(stated(named, 2))
    assert agreed.posterior.argmax(axis=1).tolist() == [0, 0, 1, 1]
    assert agreed.accuracy[0] == pytest.approx(agreed.accuracy[1])
    np.testing.assert_allclose(agreed.posterior[0], agreed.posterior[2][::-1])
    np.testing.assert_allclose(shares_of(agreed), [0.5, 0.5])


def test_probabilities_count_by_a_temperature_and_are_better_than_their_labels() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(3, size=400)
    logits = 1.3 * (one_hot(truth, 3) * 1.3 + random.normal(size=(4, 400, 3)))
    raw = np.exp(3 * logits)  # they are three times as sure as they should be
    raw /= raw.sum(axis=2, keepdims=True)
    agreed, of_labels = agreed_labels(raw), agreed_labels(stated(raw.argmax(axis=2), 3))
    for calibrator in agreed.calibrators:
        assert isinstance(calibrator, TemperatureScaling)
        assert calibrator.temperature > 1.5
    right, by_label = ((each.posterior.argmax(axis=1) == truth).mean() for each in (agreed, of_labels))
    assert right > by_label + 0.02


def test_rare_labels_do_not_change_their_names() -> None:
    random = np.random.default_rng(5)
    truth = random.choice(3, 300, p=[0.8, 0.15, 0.05])
    named = [
        np.where(random.random(300) < skill, truth, random.integers(3, size=300)) for skill in (0.5, 0.7, 0.8, 0.6)
    ]
    agreed = agreed_labels(stated(np.array(named), 3))
    assert (agreed.posterior.argmax(axis=1) == truth).mean() > 0.9
    assert (agreed.confusion.argmax(axis=2) == np.arange(3)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_names_and_order_of_labels_and_agents_do_not_matter(seed: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    named = np.where(random.random((4, 30)) < 0.6, random.integers(3, size=30), random.integers(-1, 3, size=(4, 30)))
    raw = stated(named, 3)
    raw[3] = np.where(np.isfinite(raw[3]), random.dirichlet(np.ones(3), size=30), np.nan)  # one gives probabilities
    labels, agents = data.draw(st.permutations(range(3))), data.draw(st.permutations(range(4)))
    agreed, other = agreed_labels(raw), agreed_labels(raw[agents][:, :, labels])
    np.testing.assert_allclose(other.posterior, agreed.posterior[:, labels], atol=5e-3)
    np.testing.assert_allclose(other.accuracy, agreed.accuracy[agents], atol=5e-3)
    np.testing.assert_allclose(agreed.posterior.sum(axis=1), 1)


def test_images_of_one_answer_or_none_teach_nothing() -> None:
    raw, _ = planted(np.stack([with_accuracy(0.8, 3)] * 3), 60)
    alone = stated(np.array([[0, -1], [-1, -1], [-1, -1]]), 3)
    agreed, more = agreed_labels(raw), agreed_labels(np.concatenate([raw, alone], axis=1))
    np.testing.assert_allclose(more.confusion, agreed.confusion)
    assert more.posterior[60].argmax() == 0
    np.testing.assert_allclose(more.posterior[61], shares_of(agreed))  # the shares
