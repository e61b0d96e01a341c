"""What agents are worth where no truth is known: by how far they agree (Dawid and Skene 1979).

Labels and confusion matrices are found in turns, by expectation maximisation:

- a label is as probable as `fusion` makes it of the agents' calibrated words;
- an agent that states labels is calibrated by how often it names x where the label is y, as far as that is known: its
  `confusion`, drawn to what is expected of it, as where the truth is known. One that gives probabilities is calibrated
  by a temperature. A number that is stated beside a label is left aside: nothing shows here what it is worth.

The likelihood is as great if all agents swap the names of two labels. What keeps the names is where it starts, at the
majority vote, and a prior that holds on to it: what is expected of an agent, and how strongly, is learned from the vote
once and stays. As the prior is fixed, each turn raises the posterior of the confusion matrices.

Nothing here shows agents that err together: what they share counts as right. So their words count less than those of
independent agents, the less the more answer an image (EVIDENCE_POWER).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.orchestrator.ensemble.calibration import calibrate_all, states_labels
from consilience.orchestrator.ensemble.confusion import ConfusionMatrix, ConfusionPrior
from consilience.orchestrator.ensemble.dirichlet import drawn_to
from consilience.orchestrator.ensemble.fusion import Fusion, kt_ceiling
from consilience.orchestrator.ensemble.scaling import Calibrator, TemperatureScaling, log_probabilities

MAX_TURNS = 100
"""Of expectation maximisation; it ends when no posterior moves by more than SMALL_MOVE."""

SMALL_MOVE = 1e-4

TEMPERATURE_WIDTH = 0.5
"""Standard deviation of the prior on the logarithm of a temperature, around 0: that probabilities are honest."""

PRIOR_SHARE = 0.25
"""Of the images that what is expected of an agent counts for by the vote: agents agree with a vote that is their own
more than with the truth."""

EVIDENCE_POWER = -0.75
"""Each word counts (answers an image)^this in what is said of an image: agents err together, and it cannot be seen how
much. Both were chosen on one half of 13 tables of real answers; on the other log loss was 0.82, and 0.86 with 1 and
-0.5. With 1 and 0, as for independent agents, it was 1.87 on all of them (1.05 now); simulated agents, of which most
are independent, are less sure than they might be (0.66, not 0.53)."""


@dataclass(frozen=True)
class Agreement:
    """What a panel's trust was estimated from, where nothing was labelled.

    Attributes:
        images: that two agents or more answered: they taught it.
        alpha, low: how far the agents agree beyond chance, and its lower end, see `agreement_beyond_chance`.
        confusion: by agent, true label and named label, how often that is named, [0, 1]; estimated.
    """

    images: int
    alpha: float
    low: float
    confusion: Mapping[str, Mapping[str, Mapping[str, float]]]

    @property
    def is_too_low(self) -> bool:
        """Return whether chance alone may be what the agents agree by."""
        return self.low <= 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned. Raises TypeError: it is something else."""
        return cls(**data)


@dataclass(frozen=True)
class AgreedLabels:
    """What a agents' answers on n images say of c labels and of each other.

    Attributes:
        posterior: of the labels of the images, (n, c).
        calibrators: of the agents.
        fusion: of their calibrated words.
        confusion: by agent and true label, how often each label is named, (a, c, c) [a, y, x]; rows sum to 1.
        accuracy: how often each agent names the true label, (a,).
        turns: that it took.
    """

    posterior: np.ndarray
    calibrators: tuple[Calibrator, ...]
    fusion: Fusion
    confusion: np.ndarray
    accuracy: np.ndarray
    turns: int


def agreed_labels(raw: np.ndarray) -> AgreedLabels:
    """Find labels and what agents are worth from their answers alone.

    Args:
        raw: probabilities (a, n, c), rows of NaN where an agent gave no answer. Images that fewer than two agents
            answered teach nothing, but get a posterior.
    """
    agents, _, c = raw.shape
    answered = _answered(raw)
    taught = answered.sum(axis=0) > 1
    known, n = raw[:, taught], int(taught.sum())
    votes = _votes(known)
    in_words = [states_labels(each[_answered(each)]) for each in known]
    count = votes.sum(axis=0)
    posterior = count / count.sum(axis=1, keepdims=True)
    most = (count == count.max(axis=1, keepdims=True)).astype(np.float64)
    counts = _counts(most / most.sum(axis=1, keepdims=True), votes)
    prior = ConfusionPrior.of(counts)
    expected = np.stack([prior.expected(each) for each in counts])
    # Shares of labels are drawn half way to being equal: what all agents name too often would pass for frequent.
    log_prior = np.log((posterior.mean(axis=0) + 1 / c) / 2)
    fusion, turns, move = Fusion(np.ones(agents), log_prior=log_prior), 0, np.inf
    while True:
        confusion = drawn_to(_counts(posterior, votes), expected, PRIOR_SHARE * prior.images)
        calibrators = tuple(
            _confusion_matrix(matrix, log_prior) if states else _temperature(each, posterior)
            for states, matrix, each in zip(in_words, confusion, known, strict=True)
        )
        if move < SMALL_MOVE or turns == MAX_TURNS:
            break
        before, turns = posterior, turns + 1
        posterior = fusion.posterior(calibrate_all(known, calibrators))[0]
        move = float(np.abs(posterior - before).max(initial=0.0))
    shares = posterior.mean(axis=0)
    weight = float(answered[:, taught].sum(axis=0).mean()) ** EVIDENCE_POWER
    fusion = Fusion(np.full(agents, weight), log_prior=log_prior, ceiling=kt_ceiling(n))
    return AgreedLabels(
        fusion.posterior(calibrate_all(raw, calibrators))[0],
        calibrators,
        fusion,
        confusion,
        np.einsum("y,ayy->a", shares, confusion),
        turns,
    )


def agreement_beyond_chance(raw: np.ndarray) -> tuple[float, float]:
    """Return how far agents agree on the labels they name, 1 all, 0 as by chance, and the lower end of its interval.

    Krippendorff's alpha for names (2011), which allows for missing answers; the interval (95 % lie above) counts images
    and takes how often each label is named as given.

    Args:
        raw: probabilities (a, n, c), rows of NaN for no answer; two agents answered one image at least, and two labels
            are named.

    >>> round(float(agreement_beyond_chance(one_hot(np.array([0, 1, 0, 1, 0, 1, 1, 1]), 2).reshape(2, 4, 2))[0]), 3)
    0.533
    """
    count = _votes(raw).sum(axis=0)
    answers = count.sum(axis=1)
    count, answers = count[answers > 1], answers[answers > 1]
    total, of_label = answers.sum(), count.sum(axis=0)
    by_chance = 1 - (of_label * (of_label - 1)).sum() / (total * (total - 1))
    apart = 1 - (count * (count - 1)).sum(axis=1) / (answers * (answers - 1))
    mean = float(answers @ apart / total)
    alpha, n = 1 - mean / by_chance, len(answers)
    if n < 2:
        return alpha, -1.0
    error = float(np.sqrt((answers**2 * (apart - mean) ** 2).sum() * n / (n - 1)) / total)
    return alpha, max(alpha - 1.645 * error / by_chance, -1.0)


def _answered(raw: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(raw).all(axis=-1))


def _votes(raw: np.ndarray) -> np.ndarray:
    """Return 1 for the label that each answer names and 0 for others, (a, n, c); only 0 for no answer."""
    named = one_hot(np.nan_to_num(raw).argmax(axis=2).ravel(), raw.shape[2]).reshape(raw.shape)
    return np.where(_answered(raw)[:, :, None], named, 0.0)


def _counts(posterior: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return how often each agent names x where y is true, (a, c, c) [a, y, x], of (n, c) and (a, n, c)."""
    return np.asarray(posterior.T @ votes)


def _confusion_matrix(matrix: np.ndarray, log_prior: np.ndarray) -> ConfusionMatrix:
    return ConfusionMatrix(tuple(map(tuple, (np.log(matrix).T + log_prior).tolist())))


def _temperature(raw: np.ndarray, posterior: np.ndarray) -> TemperatureScaling:
    """Return the temperature of probabilities (n, c), NaN for none, that labels of such a posterior (n, c) support."""
    from scipy.optimize import minimize_scalar

    answered = _answered(raw)
    logits, targets = log_probabilities(raw[answered]), posterior[answered]

    def loss(log_temperature: float) -> float:
        scaled = log_probabilities(softmax(logits * np.exp(-log_temperature)))
        return float(-(targets * scaled).sum() + (log_temperature / TEMPERATURE_WIDTH) ** 2 / 2)

    return TemperatureScaling(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x)))
