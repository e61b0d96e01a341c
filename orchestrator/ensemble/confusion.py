"""Calibration by what was said: an agent that states labels, and perhaps a number, is known by its confusion matrix.

How often it names x where y is true (Dawid and Skene 1979) is counted, and drawn to what is expected of such an agent,
from the first labelled image on:

- where it errs it names the labels as often as it usually does when it errs, those drawn to all being named as often;
- how often it errs is drawn to how often the panel's other agents that state labels do.

How far each is drawn follows from how far these agents are from it (`dirichlet.likeliest_strength`): agents that err at
random keep to what is expected, one that swaps two labels, or answers with one where it does not know, soon does not.
A stated number moves the label that it is stated for, by a slope that is 0 until the labelled images show that it tells
right answers from wrong ones: models say "0.9" to either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.orchestrator.ensemble.dirichlet import drawn_to, label_shares, likeliest_strength
from consilience.orchestrator.ensemble.scaling import log_probabilities

USUAL_IMAGES = 16.0
"""For how many images it usually counts what is expected of an agent: its accuracy, and what it names of one label."""

USUAL_ERRORS_OF_A_LABEL = 4.0
"""For how many errors it usually counts, of each label, that a wrong answer names one as often as another."""

SLOPE_WIDTH = 0.5
"""Standard deviation of the prior on the slope of a stated number, around 0: that it tells nothing."""

SUREST = 0.99
"""A stated number counts up to here: some say 1 whatever they see."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """softmax(L[named] + slope (logit(stated) - usual) of the named label): what was true where it said so.

    Attributes:
        logs: L, by the label that it names, the logarithm of each label's probability, (c, c).
        slope: of the log odds of the number that it states.
        usual: the mean of these log odds.
    """

    logs: tuple[tuple[float, ...], ...]
    slope: float = 0.0
    usual: float = 0.0
    kind: ClassVar[str] = "confusion-matrix"

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        probabilities = np.asarray(probabilities)
        named, logits = probabilities.argmax(axis=1), log_odds_of_the_named(probabilities)
        logs = np.array(self.logs)[named]
        logs[np.arange(len(named)), named] += self.slope * (logits - self.usual)
        return softmax(logs)


@dataclass(frozen=True)
class ConfusionPrior:
    """What is expected of an agent of a panel that states labels.

    Attributes:
        accuracy: share of right answers; for so many images of an agent it counts.
        accuracy_images, error_images, images: for how many images (errors) it counts how often it errs, what it names
            when it errs, and what it names where one label is true.
    """

    accuracy: float
    accuracy_images: float
    error_images: float
    images: float

    @classmethod
    def of(cls, counts: np.ndarray) -> Self:
        """Return what such agents have in common, by how often each named x where y was true: (a, c, c), [a, y, x]."""
        labels = counts.shape[1]
        wrong = (counts * (1 - np.eye(labels))).sum(axis=1)
        right = np.stack([counts.trace(axis1=1, axis2=2), wrong.sum(axis=1)], axis=1)
        accuracy = float((right[:, 0].sum() + 1) / (right.sum() + labels))
        shares = np.array([[accuracy, 1 - accuracy]]).repeat(len(right), axis=0)
        equal = np.full(wrong.shape, 1 / labels)
        prior = cls(
            accuracy,
            likeliest_strength(right, shares, USUAL_IMAGES),
            likeliest_strength(wrong, equal, USUAL_ERRORS_OF_A_LABEL * labels),
            USUAL_IMAGES,
        )
        expected = np.stack([prior.expected(each) for each in counts])
        return cls(
            accuracy, prior.accuracy_images, prior.error_images, likeliest_strength(counts, expected, USUAL_IMAGES)
        )

    def expected(self, counts: np.ndarray) -> np.ndarray:
        """Return how often an agent of these counts, (c, c), is expected to name x where y is true: rows sum to 1."""
        labels, right = len(counts), float(counts.trace())
        wrong = counts.sum(axis=0) - np.diag(counts)
        rate = drawn_to(
            np.array([right, wrong.sum()]), np.array([self.accuracy, 1 - self.accuracy]), self.accuracy_images
        )
        named = drawn_to(wrong, np.full(labels, 1 / labels), self.error_images) * (1 - np.eye(labels))
        return np.asarray(rate[0] * np.eye(labels) + rate[1] * named / named.sum(axis=1, keepdims=True))

    def logs(self, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Return by the named label the logarithm of each label's probability, (c, c) [x, y], up to a constant a row.

        Args:
            counts: how often it named x where y was true, (c, c) [y, x]. shares: of the labels, (c,).
        """
        return np.asarray(np.log(drawn_to(counts, self.expected(counts), self.images)).T + np.log(shares))


def calibrated_statements(
    raw: Sequence[np.ndarray], labels: np.ndarray, folds: np.ndarray
) -> list[tuple[ConfusionMatrix, np.ndarray]]:
    """Return for each agent that states labels its calibrator, and its calibrated rows (n, c), out of fold.

    Args:
        raw: of each agent, (n, c), rows of NaN where it did not answer.
        labels: int (n,). folds: int (n,); every agent has answered images of two folds at least.
    """
    if not raw:
        return []
    shares = label_shares(labels, raw[0].shape[1])
    prior = ConfusionPrior.of(np.stack([_counts(each, labels) for each in raw]))
    return [_calibrated(each, labels, folds, prior, shares) for each in raw]


def _calibrated(
    raw: np.ndarray, labels: np.ndarray, folds: np.ndarray, prior: ConfusionPrior, shares: np.ndarray
) -> tuple[ConfusionMatrix, np.ndarray]:
    answered, rows = np.isfinite(raw).all(axis=1), np.full_like(raw, np.nan)
    named = np.nan_to_num(raw).argmax(axis=1)
    for fold in np.unique(folds[answered]):
        here, others = answered & (folds == fold), folds != fold
        rows[here] = softmax(prior.logs(_counts(raw[others], labels[others]), shares)[named[here]])
    stated = log_odds_of_the_named(raw[answered])
    usual = float(stated.mean())
    slope = _slope(stated - usual, rows[answered, named[answered]], labels[answered] == named[answered])
    moved = one_hot(named[answered], len(shares)) * (slope * (stated - usual))[:, None]
    rows[answered] = softmax(log_probabilities(rows[answered]) + moved)
    logs = prior.logs(_counts(raw, labels), shares)
    return ConfusionMatrix(tuple(map(tuple, logs.tolist())), slope, usual), rows


def _slope(stated: np.ndarray, expected: np.ndarray, right: np.ndarray) -> float:
    """Return the slope of greatest posterior of stated log odds (m,), beside the expected chances to be right."""
    if not np.ptp(stated) > 0:
        return 0.0
    slope, odds = 0.0, np.log(expected / (1 - expected))
    for _ in range(50):  # Newton
        share = 1 / (1 + np.exp(-(odds + slope * stated)))
        step = (float((share - right) @ stated) + slope / SLOPE_WIDTH**2) / (
            float((share * (1 - share)) @ stated**2) + 1 / SLOPE_WIDTH**2
        )
        slope -= float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-8:
            break
    return slope


def log_odds_of_the_named(probabilities: np.ndarray) -> np.ndarray:
    """Return the log odds of each row's greatest probability, (n,), up to those of SUREST."""
    stated = np.clip(probabilities.max(axis=1), 1 - SUREST, SUREST)
    return np.asarray(np.log(stated / (1 - stated)))


def _counts(raw: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how often x was named where y was true, (c, c) [y, x], in rows (n, c), NaN where nothing was."""
    answered, c = np.isfinite(raw).all(axis=1), raw.shape[1]
    pairs = labels[answered] * c + raw[answered].argmax(axis=1)
    return np.bincount(pairs, minlength=c * c).reshape(c, c).astype(np.float64)
