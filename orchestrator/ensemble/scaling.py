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

MAX_STEPS = 60
"""Of Newton's method for a temperature; five are usual."""

IMAGES_FOR_MORE_PARAMETERS = 80
"""Images below which only a temperature is fitted: a choice among calibrators would follow chance. Ten for each of the
8 parameters of a vector for four labels (the rule of Peduzzi et al. 1996). With 64, the log loss of the fusion on other
images was 0.144 with a choice and 0.131 without (CLIP embeddings, 20 draws)."""

CLOSE = 1e-9
"""The least gain, in nats over all images, that another step of Newton's method for `VectorScaling` is worth."""

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
        least_images: with fewer, it is no choice beside a simpler one.
    """

    keeps_order: ClassVar[bool]
    least_images: ClassVar[int]

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
    least_images: ClassVar[int] = 0
    prior_std: ClassVar[float] = np.inf
    """Standard deviation of the prior on log T, a normal one: infinite: no prior."""

    @classmethod
    def prior_mean(cls, labels: np.ndarray) -> float:
        """Return the centre of that prior, for predictions of images with these labels, int (n,)."""
        return 0.0

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> TemperatureScaling:
        """Return the temperature of the least log loss and prior penalty, in [0.05, 20]."""
        logits, targets = log_probabilities(probabilities), soft_targets(labels, probabilities.shape[1])
        prior_mean, precision, log_temperature = cls.prior_mean(labels), 1 / cls.prior_std**2, 0.0
        at_targets = float((targets * logits).sum())
        for _ in range(MAX_STEPS):  # Newton; the loss is convex in 1 / T, whose curvature alone is used
            inverse = np.exp(-log_temperature)
            scaled = softmax(logits * inverse)
            means = (scaled * logits).sum(axis=1)
            slope = -inverse * (float(means.sum()) - at_targets) + precision * (log_temperature - prior_mean)
            spread = float(np.einsum("nc,nc,nc->", scaled, logits, logits) - means @ means)
            step = -slope / max(inverse**2 * spread + precision, 1e-9)
            before = log_temperature
            log_temperature = float(np.clip(before + np.clip(step, -1.0, 1.0), np.log(0.05), np.log(20.0)))
            if abs(log_temperature - before) < 1e-7:
                break
        return TemperatureScaling(float(np.exp(log_temperature)))

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
    least_images: ClassVar[int] = IMAGES_FOR_MORE_PARAMETERS

    @classmethod
    def prior_std(cls, temperature: float) -> tuple[float, float]:
        """Return the standard deviations of the prior on each scale and each shift, around those of a temperature."""
        return 1.0, 1.0

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> VectorScaling:
        """Return the scales and shifts of the least log loss, with a ridge towards the fitted temperature."""
        logits, targets = log_probabilities(probabilities), soft_targets(labels, probabilities.shape[1])
        n_labels, temperature = logits.shape[1], TemperatureScaling.fit(probabilities, labels).temperature
        start = np.r_[np.full(n_labels, 1 / temperature), np.zeros(n_labels)]
        precision = np.repeat(cls.prior_std(temperature), n_labels) ** -2.0
        best = _scale_and_shift(logits, targets, start, precision)
        return VectorScaling(tuple(best[:n_labels].tolist()), tuple(best[n_labels:].tolist()))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        return softmax(log_probabilities(probabilities) * np.array(self.scale) + np.array(self.shift))


@dataclass(frozen=True)
class FirmVectorScaling(VectorScaling):
    """Fits a `VectorScaling` that stays near a temperature: for agents that see labels in shares of their own.

    So do models that compare an image with the names of the labels. With 50 images of ten labels it gains 2 points
    with four of them; with a wider prior 3, but experts for some of 20 labels lose 15 to it.
    """

    least_images: ClassVar[int] = 40

    @classmethod
    def prior_std(cls, temperature: float) -> tuple[float, float]:
        """Return 15 % of the scale, and 0.15."""
        return 0.15 / temperature, 0.15


def _scale_and_shift(logits: np.ndarray, targets: np.ndarray, start: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return scales in [0, 20] and shifts in [-20, 20], (2c,), by Newton's method.

    The loss is convex; what is at a bound and would leave it stays there (Bertsekas 1982, 'Projected Newton methods').
    The second derivatives are products of (n, c) matrices, which take about as long as the loss.

    Args:
        logits, targets: (n, c).
        start: where the ridge is centred, (2c,). precision: how strong it is, (2c,).
    """
    c = logits.shape[1]
    low, high = np.repeat([0.0, -20.0], c), np.full(2 * c, 20.0)
    scales, shifts = np.arange(c), np.arange(c, 2 * c)
    at_targets = np.r_[np.einsum("nc,nc->c", targets, logits), targets.sum(axis=0)]

    def at(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss, and the probabilities (n, c)."""
        scaled = logits * parameters[scales] + parameters[shifts]
        top = scaled.max(axis=1, keepdims=True)
        np.exp(scaled - top, out=scaled)
        total = scaled.sum(axis=1, keepdims=True)
        scaled /= total
        drift = parameters - start
        return float((np.log(total) + top).sum() - at_targets @ parameters + precision * drift @ drift / 2), scaled

    parameters, (loss, scaled) = start, at(start)
    for _ in range(MAX_STEPS):
        both = np.concatenate([scaled * logits, scaled], axis=1)
        means = both.sum(axis=0)
        slope = means - at_targets + precision * (parameters - start)
        curvature = np.diag(precision) - both.T @ both
        curvature[scales, scales] += np.einsum("nc,nc->c", both[:, :c], logits)
        curvature[scales, shifts] += means[:c]
        curvature[shifts, scales] += means[:c]
        curvature[shifts, shifts] += means[c:]
        free = np.flatnonzero(~((parameters <= low) & (slope > 0) | (parameters >= high) & (slope < 0)))
        step = np.zeros(2 * c)
        step[free] = -np.linalg.solve(curvature[np.ix_(free, free)], slope[free])
        for share in 0.5 ** np.arange(20):
            tried = np.clip(parameters + share * step, low, high)
            lower, scaled = at(tried)
            if lower <= loss:
                break
        gained, parameters, loss = loss - lower, tried, lower
        if gained < CLOSE:
            break
    return parameters


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
    least_images: ClassVar[int] = IMAGES_FOR_MORE_PARAMETERS

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Return the increasing curve of the least squared error (pool adjacent violators), for all labels at once."""
        from sklearn.isotonic import isotonic_regression

        # Between the probabilities of two true labels all targets are the same, so that the curve is flat there: such
        # a stretch is one piece, and there are some 2n of them, not n * c.
        values, of_truth = np.sort(probabilities, axis=None), probabilities[np.arange(len(labels)), labels]
        truths, counts = np.unique(of_truth, return_counts=True)
        begin, end = np.searchsorted(values, truths, "left"), np.searchsorted(values, truths, "right")
        bounds = np.r_[0, np.c_[begin, end].ravel(), len(values)]  # a stretch, true labels, a stretch, and so on
        first, last = bounds[:-1], bounds[1:]
        targets = soft_targets(labels[:1].repeat(len(labels)), probabilities.shape[1])[0]
        target = np.full(len(first), targets.min())
        target[1::2] += (targets.max() - targets.min()) * counts / (end - begin)
        some = last > first
        first, last = first[some], last[some]
        curve = isotonic_regression(target[some], sample_weight=(last - first).astype(np.float64), y_min=0.0, y_max=1.0)
        x, place = np.unique(values[np.c_[first, last - 1].ravel()], return_index=True)
        y = np.repeat(curve, 2)[place]
        turns = np.r_[True, (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:]), True][-len(y) :]
        return cls(tuple(x[turns].tolist()), tuple(y[turns].tolist()))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        # Below MIN_PROBABILITY the slope could be infinite. The small slope keeps the order where the curve is flat.
        curve = np.interp(np.maximum(probabilities, MIN_PROBABILITY), np.maximum(self.x, MIN_PROBABILITY), self.y)
        raised = curve + FLOOR * (1 + np.asarray(probabilities))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class ConfusionScaling:
    """softmax(log base(p) + B[named]): another calibrator, then a row of shifts for each label that an agent may name.

    B is the logarithm of how often the labels were true where the agent named x, over how often they should have been
    by the other calibrator. Where that one says the same of every image for which x was named, as of an agent that
    states labels alone, what comes out is the confusion matrix P(truth | it named x), drawn to the agent's accuracy
    (Dawid and Skene 1979). What was named seldom stays as the other calibrator has it.
    """

    base: Calibrator
    shifts: tuple[tuple[float, ...], ...]
    kind: ClassVar[str] = "confusion"
    keeps_order: ClassVar[bool] = False

    @classmethod
    def over(
        cls, base: Calibrator, expected: np.ndarray, named: np.ndarray, labels: np.ndarray, prior_images: float
    ) -> Self:
        """Return the scaling on top of `base`.

        Args:
            expected: what `base`, fitted on other images, says of n images, (n, c).
            named: the label that the agent named, int (n,). labels: the true ones, int (n,).
            prior_images: how many images it counts for, in each cell, that they are as often true as expected.

        Examples:
            >>> base, half = TemperatureScaling(1.0), np.full((2, 2), 0.5)
            >>> scaling = ConfusionScaling.over(base, half, np.array([0, 0]), np.array([1, 1]), 1.0)
            >>> scaling(np.array([[0.9, 0.1]])).round(3)  # 9 * (0 + 1) / (1 + 1) to 1 * (2 + 1) / (1 + 1)
            array([[0.75, 0.25]])
        """
        c = expected.shape[1]
        of_named = one_hot(named, c).T
        observed, should = of_named @ one_hot(labels, c), of_named @ expected
        shifts = np.log((observed + prior_images) / (should + prior_images))
        return cls(base, tuple(tuple(row) for row in shifts.tolist()))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        named = np.asarray(probabilities).argmax(axis=1)
        return self.shifted(self.base(probabilities), named)

    def shifted(self, calibrated: np.ndarray, named: np.ndarray) -> np.ndarray:
        """Return what `base` made of predictions, (n, c), shifted by the labels that they named, int (n,)."""
        return softmax(log_probabilities(calibrated) + np.array(self.shifts)[named])


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
