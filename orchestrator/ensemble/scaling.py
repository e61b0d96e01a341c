"""Calibrators, each a map from an agent's raw probabilities (n, c) to calibrated ones (n, c); rows sum to 1.

All are fitted on predictions for images that the agent was not fitted on. Every fit softens its targets as if one more
image had been seen whose label nobody knows (after Platt 1999), so that an agent which made no mistake on n images
claims about 1 - 1/n, never certainty. Which one an agent gets is decided in `calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.agents.heads.model_selection import are_few, soft_targets

FLOOR = 1e-6
"""Probabilities are kept this far from 0 before a logarithm: no agent can veto a label."""

MIN_PROBABILITY = 1e-100
"""Probabilities below are as good as 0."""


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return log p, float64 of the same shape, with p floored at FLOOR."""
    return np.asarray(np.log(np.maximum(probabilities, FLOOR)))


class Calibrator(Protocol):
    """Maps raw probabilities (n, c) to calibrated ones (n, c); rows sum to 1. A dataclass of numbers and tuples.

    Attributes:
        kind: its name in files and tables.
    """

    kind: ClassVar[str]

    def __call__(self, probabilities: np.ndarray) -> np.ndarray: ...


class FittedCalibrator(Calibrator, Protocol):
    """One that learns from labelled predictions.

    Attributes:
        keeps_order: whether a calibrated prediction still names the same label.
        needs_one_number: whether it suits only agents that state a label and one number, see `states_one_number`.
    """

    keeps_order: ClassVar[bool]
    needs_one_number: ClassVar[bool]

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> Calibrator:
        """Return the calibrator that predictions (n, c) of images with these labels, int (n,), support."""
        ...


@dataclass(frozen=True)
class TemperatureScaling:
    """softmax(log p / T): one number (Guo et al., 'On Calibration of Modern Neural Networks', ICML 2017)."""

    temperature: float
    kind: ClassVar[str] = "temperature"
    keeps_order: ClassVar[bool] = True
    needs_one_number: ClassVar[bool] = False
    prior_std: ClassVar[float] = np.inf
    """Standard deviation of the prior on log T, a normal one: infinite: no prior."""

    @classmethod
    def prior_mean(cls, labels: np.ndarray) -> float:
        """Return the centre of that prior, for predictions of images with these labels, int (n,)."""
        return 0.0

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> TemperatureScaling:
        """Return the temperature of the least log loss and prior penalty, in [0.05, 20]."""
        from scipy.optimize import minimize_scalar

        logits, targets = log_probabilities(probabilities), soft_targets(labels, probabilities.shape[1])
        prior_mean = cls.prior_mean(labels)

        def loss(log_temperature: float) -> float:
            scaled, far = softmax(logits / np.exp(log_temperature)), (log_temperature - prior_mean) / cls.prior_std
            return float(-(targets * log_probabilities(scaled)).sum() + far**2 / 2)

        best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
        return TemperatureScaling(float(np.exp(best.x)))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        return softmax(log_probabilities(probabilities) / self.temperature)


@dataclass(frozen=True)
class HeadTemperatureScaling(TemperatureScaling):
    """Fits a `TemperatureScaling` to a head on features: most of what its temperature will be is known beforehand.

    Heads that choose their settings choose them for the fewer images of their inner folds, and end less sure than they
    may be; the usual settings that they take with few images are about honest (`agents.heads.model_selection.are_few`).

    Constants: the best log T on held-out images, mean of four heads, was -0.2 with 16 images a label of the CLIP
    embeddings, -0.1 of the apple leaves and -0.5 of the solar cells, 0.0 with 4 of the first two (10 to 20 draws of
    each), with a standard deviation of about 0.25 from draw to draw. What 4 images a label say out of fold goes, if
    anything, the other way (correlation -0.2: an atypical draw looks easy to itself), so that 0.15 does better on other
    images than 0.25. The prior is a normal one, since one with long tails lets go where a single image of 16 is wrong.
    """

    prior_std: ClassVar[float] = 0.15

    @classmethod
    def prior_mean(cls, labels: np.ndarray) -> float:
        """Return 0 for few labels, else -0.3: heads that choose their settings end less sure than they may be."""
        return 0.0 if are_few(labels) else -0.3


@dataclass(frozen=True)
class VectorScaling:
    """softmax(w * log p + b): a scale and a shift for each label (Guo et al. 2017), drawn towards a temperature."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]
    kind: ClassVar[str] = "vector"
    keeps_order: ClassVar[bool] = False
    needs_one_number: ClassVar[bool] = False

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Return the scales and shifts of the least log loss, with a ridge towards the fitted temperature."""
        from scipy.optimize import minimize

        logits, n_labels = log_probabilities(probabilities), probabilities.shape[1]
        targets = soft_targets(labels, n_labels)
        temperature = TemperatureScaling.fit(probabilities, labels).temperature
        start = np.r_[np.full(n_labels, 1 / temperature), np.zeros(n_labels)]

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            scaled = softmax(logits * parameters[:n_labels] + parameters[n_labels:])
            residual, drift = scaled - targets, parameters - start
            gradient = np.r_[(residual * logits).sum(axis=0), residual.sum(axis=0)] + drift
            return float(-(targets * log_probabilities(scaled)).sum() + drift @ drift / 2), gradient

        best = minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 20.0)] * n_labels + [(-20, 20)] * n_labels
        )
        return cls(tuple(best.x[:n_labels].tolist()), tuple(best.x[n_labels:].tolist()))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        return softmax(log_probabilities(probabilities) * np.array(self.scale) + np.array(self.shift))


@dataclass(frozen=True)
class IsotonicScaling:
    """One increasing curve for all labels, then renormalised: it keeps the order of the labels.

    The 'IRM' of Zhang, Kailkhura and Han, 'Mix-n-Match: Ensemble and Compositional Methods for Uncertainty
    Calibration', ICML 2020. One-vs-rest curves, the usual choice, make multiclass calibration worse.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    kind: ClassVar[str] = "isotonic"
    keeps_order: ClassVar[bool] = True
    needs_one_number: ClassVar[bool] = False

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Return the increasing curve of the least squared error (pool adjacent violators), for all labels at once."""
        from sklearn.isotonic import IsotonicRegression

        targets = soft_targets(labels, probabilities.shape[1])
        curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit(probabilities.ravel(), targets.ravel())
        return cls(tuple(curve.X_thresholds_.tolist()), tuple(curve.y_thresholds_.tolist()))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        # Below MIN_PROBABILITY the slope could be infinite. The small slope keeps the order where the curve is flat.
        curve = np.interp(np.maximum(probabilities, MIN_PROBABILITY), np.maximum(self.x, MIN_PROBABILITY), self.y)
        raised = curve + FLOOR * (1 + np.asarray(probabilities))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class ConfusionScaling:
    """softmax(t log p + B[named]): one scale, and a row of shifts for each label that the agent may name.

    A multinomial logistic regression on the agent's confidence and on the label that it named: with confidences that
    say nothing, B holds the log of the confusion matrix (Dawid and Skene 1979). For an agent that states one number,
    and which is more reliable about one label than about another. A ridge draws t to the temperature's and B to
    0, so that a label which was named too seldom to tell is scaled by the temperature alone.
    """

    scale: float
    shifts: tuple[tuple[float, ...], ...]
    kind: ClassVar[str] = "confusion"
    keeps_order: ClassVar[bool] = False
    needs_one_number: ClassVar[bool] = True

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Return the scale and shifts of the least log loss, with a ridge towards the fitted temperature."""
        from scipy.optimize import minimize

        logits, c = log_probabilities(probabilities), probabilities.shape[1]
        targets, named = soft_targets(labels, c), one_hot(probabilities.argmax(axis=1), c)
        start = np.r_[1 / TemperatureScaling.fit(probabilities, labels).temperature, np.zeros(c * c)]

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            scaled = softmax(parameters[0] * logits + named @ parameters[1:].reshape(c, c))
            residual, drift = scaled - targets, parameters - start
            gradient = np.r_[(residual * logits).sum(), (named.T @ residual).ravel()] + drift
            return float(-(targets * log_probabilities(scaled)).sum() + drift @ drift / 2), gradient

        best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 20.0)] + [(-20, 20)] * c * c)
        return cls(float(best.x[0]), tuple(tuple(row) for row in best.x[1:].reshape(c, c).tolist()))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        named = np.asarray(probabilities).argmax(axis=1)
        return softmax(self.scale * log_probabilities(probabilities) + np.array(self.shifts)[named])


@dataclass(frozen=True)
class ConfidenceDiscount:
    """Mixed with the uniform distribution until the confidence is lower by the calibration error, or down to chance.

    For an agent of which only the summary numbers are known. It assumes that the agent errs by overconfidence, as
    vision-language models do (arXiv 2507.10571, table 2): an ECE does not tell the direction.
    """

    by: float
    kind: ClassVar[str] = "discount"

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        chance = 1 / probabilities.shape[1]
        above = np.maximum(probabilities.max(axis=1, keepdims=True) - chance, FLOOR)
        doubt = np.minimum(self.by / above, 1.0)
        return np.asarray((1 - doubt) * probabilities + doubt * chance)
