"""Calibration by what was said: an agent that states labels, and perhaps a number, is known by its confusion matrix.

How often it names x where y is true (Dawid and Skene 1979) is counted, and drawn to what is expected of such an agent,
from the first labelled image on:

- where it errs it names the labels as often as it usually does when it errs, those drawn to all being named as often;
- how often it errs is drawn to how often the panel's other agents that state labels do.

How far each is drawn follows from how far these agents are from it (`dirichlet.likeliest_strength`): agents that err at
random keep to what is expected, one that swaps two labels, or answers with one where it does not know, soon does not.
A stated number moves the label that it is stated for, by a slope that is 0 until the labelled images show that it tells
right answers from wrong ones: models say "0.9" to either.

Who names several labels (`agents.ranking`) is known by the first. What that leaves to the others is shared out anew:
more for those named after it, as far as they were true where the first was not. How much of the answer the first is,
alone or before others, is a stated number, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.orchestrator.ensemble.dirichlet import drawn_to, label_shares, likeliest_strength
from consilience.orchestrator.ensemble.scaling import log_probabilities
from consilience.orchestrator.ensemble.statements import Statements

USUAL_IMAGES = 16.0
"""For how many images it usually counts what is expected of an agent: its accuracy, and what it names of one label."""

USUAL_ERRORS_OF_A_LABEL = 4.0
"""For how many errors it usually counts, of each label, that a wrong answer names one as often as another."""

SLOPE_WIDTH = 0.5
"""Standard deviation of the prior on the slope of a stated number, around 0: that it tells nothing."""

USUAL_RUNNER_UP, RUNNER_UP_WIDTH = 1.0, 1.0
"""Centre and standard deviation of the prior on how much the log odds of a label rise that is named second, among those
that are not named first."""

MAX_STEPS = 50
"""Of Newton's method for either."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """softmax(L[named] + slope (logit(stated) - usual) of the named label): what was true where it said so.

    Of several labels `runner_up` moves what the first leaves to the others (`Statements.with_later`).

    Attributes:
        logs: L, by the label that it names, the logarithm of each label's probability, (c, c).
        slope: of the log odds of the number that it states.
        usual: the mean of these log odds.
        runner_up: how much the log odds of a label rise that it names second, among those that it does not name first.
    """

    logs: tuple[tuple[float, ...], ...]
    slope: float = 0.0
    usual: float = 0.0
    runner_up: float = USUAL_RUNNER_UP
    kind: ClassVar[str] = "confusion-matrix"

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        statements = Statements.of(np.asarray(probabilities))
        return self.moved(statements, np.array(self.logs)[statements.first])

    def moved(self, statements: Statements, logs: np.ndarray) -> np.ndarray:
        """Return the probabilities of the answers, (n, c), given their logarithms by the named labels alone, (m, c)."""
        logs = statements.with_later(logs, self.runner_up)
        return statements.of_answers(statements.with_first(logs, self.slope * (statements.odds - self.usual)))


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
        expected = np.stack([prior.expected(of_agent) for of_agent in counts])
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
        raw: of each agent, (n, c), rows of NaN where it did not answer, of SILENT where it named nothing: both stay.
        labels: int (n,). folds: int (n,); every agent has answered images of two folds at least.
    """
    if not raw:
        return []
    shares = label_shares(labels, raw[0].shape[1])
    answered = [np.isfinite(probabilities).all(axis=1) for probabilities in raw]
    statements = [Statements.of(probabilities[spoke]) for probabilities, spoke in zip(raw, answered, strict=True)]
    truths = [labels[spoke][stated.row] for stated, spoke in zip(statements, answered, strict=True)]
    counts = [stated.counts(truth) for stated, truth in zip(statements, truths, strict=True)]
    prior = ConfusionPrior.of(np.stack(counts))
    fitted = []
    for of_agent, spoke, stated, truth in zip(raw, answered, statements, truths, strict=True):
        rows = of_agent.copy()
        calibrator, rows[spoke] = _calibrated(stated, truth, folds[spoke][stated.row], prior, shares)
        fitted.append((calibrator, rows))
    return fitted


def _calibrated(
    statements: Statements, truths: np.ndarray, folds: np.ndarray, prior: ConfusionPrior, shares: np.ndarray
) -> tuple[ConfusionMatrix, np.ndarray]:
    """Return a calibrator, and the calibrated answers; truths and folds are of the statements, int (m,)."""
    expected = np.empty_like(statements.later)
    for fold in np.unique(folds):
        held_out = folds == fold
        counts = statements.take(~held_out).counts(truths[~held_out])
        expected[held_out] = softmax(prior.logs(counts, shares)[statements.first[held_out]])
    usual = float(statements.odds @ statements.share / statements.share.sum())
    logs = prior.logs(statements.counts(truths), shares)
    calibrator = ConfusionMatrix(
        tuple(map(tuple, logs.tolist())),
        _slope(statements, statements.odds - usual, expected, truths),
        usual,
        _runner_up(statements, expected, truths),
    )
    return calibrator, calibrator.moved(statements, log_probabilities(expected))


def _slope(statements: Statements, odds: np.ndarray, expected: np.ndarray, truths: np.ndarray) -> float:
    """Return the slope of greatest posterior of stated log odds (m,), beside the expected probabilities (m, c)."""
    if not np.ptp(odds) > 0:
        return 0.0
    share, is_right = statements.share, statements.first == truths
    of_first = expected[np.arange(len(truths)), statements.first]
    expected_odds = np.log(of_first / (1 - of_first))

    def step(slope: float) -> float:
        chance = 1 / (1 + np.exp(-(expected_odds + slope * odds)))
        gradient = float((share * (chance - is_right)) @ odds) + slope / SLOPE_WIDTH**2
        return gradient / (float((share * chance * (1 - chance)) @ odds**2) + 1 / SLOPE_WIDTH**2)

    return _newton(0.0, step)


def _runner_up(statements: Statements, expected: np.ndarray, truths: np.ndarray) -> float:
    """Return the rise of greatest posterior of a label that is named second, where what was named first is wrong."""
    tells = statements.later.any(axis=1) & (statements.first != truths)
    wrong = statements.take(tells)
    others = np.where(one_hot(wrong.first, expected.shape[1]) > 0, -np.inf, np.log(expected[tells]))
    of_truth = wrong.later[np.arange(len(wrong.row)), truths[tells]]

    def step(rise: float) -> float:
        chances = softmax(others + rise * wrong.later)
        mean = (chances * wrong.later).sum(axis=1)
        spread = (chances * wrong.later**2).sum(axis=1) - mean**2
        gradient = float(wrong.share @ (mean - of_truth)) + (rise - USUAL_RUNNER_UP) / RUNNER_UP_WIDTH**2
        return gradient / (float(wrong.share @ spread) + 1 / RUNNER_UP_WIDTH**2)

    return _newton(USUAL_RUNNER_UP, step)


def _newton(start: float, step: Callable[[float], float]) -> float:
    """Return where Newton's method ends; of a step, slope over curvature, at most 1 is taken."""
    place = start
    for _ in range(MAX_STEPS):
        wanted = step(place)
        place -= float(np.clip(wanted, -1.0, 1.0))
        if abs(wanted) < 1e-8:
            break
    return place
