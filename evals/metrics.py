"""What an evaluation measures: small pure functions on arrays. ECE, OCR, CCC, Brier score and log loss:
`consilience.orchestrator.ensemble.trust_metrics`.

`confidence` float (n,) in [0, 1] is how sure somebody was of the label that it named; `correct` bool (n,) is whether
that label was right. Undefined is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Bins:
    """Images by confidence, as a reliability diagram shows them; empty bins are left out.

    Attributes:
        low, high: bounds of each bin, float (m,): low < confidence <= high; the first holds its low as well.
        n: images in each, int (m,).
        confidence, accuracy: their means, float (m,).
    """

    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Return the mean over images of |accuracy - mean confidence| of their bin, [0, 1]; 0 without images."""
        return float(np.abs(self.n * (self.accuracy - self.confidence)).sum() / max(self.n.sum(), 1))


def binned(confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray) -> Bins:
    """Sort images into the bins between ascending edges, float (m - 1,)."""
    bounds = np.concatenate([[0.0], edges, [1.0]])
    bin_of = np.searchsorted(edges, confidence, side="left")
    n = np.bincount(bin_of, minlength=len(bounds) - 1)
    there = n > 0
    sums = [np.bincount(bin_of, weights=values, minlength=len(n))[there] for values in (confidence, correct)]
    return Bins(bounds[:-1][there], bounds[1:][there], n[there], sums[0] / n[there], sums[1] / n[there])


def equal_width(bins: int = BINS) -> np.ndarray:
    """Return the inner edges of bins of equal width, float (bins - 1,): those of the ECE (Naeini et al. 2015)."""
    edges: np.ndarray = np.arange(1, bins) / bins
    return edges


def equal_mass(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the inner edges of bins of about as many images each (adaptive ECE, Nguyen and O'Connor 2015).

    Images of equal confidence share a bin, so that the order of the images does not matter; where many do, there are
    fewer bins.
    """
    if not len(confidence):
        return np.empty(0)
    return np.unique(np.quantile(confidence, equal_width(bins), method="inverted_cdf"))


def adaptive_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Return the adaptive ECE, [0, 1], lower is better: the ECE with bins of about as many images each.

    >>> adaptive_calibration_error(np.array([0.6, 0.6, 0.9, 1.0]), np.array([True, False, True, True]), bins=2)
    0.075
    """
    return round(binned(confidence, correct, equal_mass(confidence, bins)).error, 15)


def confidence_auroc(confidence: np.ndarray, correct: np.ndarray) -> float | None:
    """Return how well confidence tells right from wrong, [0, 1], higher is better, 0.5 is chance.

    None if all are right, or none is.
    """
    from sklearn.metrics import roc_auc_score

    right = int(np.sum(correct))
    return float(roc_auc_score(correct, confidence)) if 0 < right < len(correct) else None


@dataclass(frozen=True)
class RiskCoverage:
    """What is wrong among the most confident (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    Attributes:
        threshold: confidence from which on images are answered, descending, float (m,).
        coverage: share of the images that are, float (m,) in (0, 1].
        risk: share of those that are wrong, float (m,) in [0, 1].
        area: mean of the risk over all coverages, [0, 1], lower is better; None without images.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    area: float | None

    def thinned(self, points: int = 200) -> RiskCoverage:
        """Return the same with at most so many points, evenly spaced in coverage; the area stays exact."""
        if len(self.coverage) <= points:
            return self
        wanted = np.searchsorted(self.coverage, np.arange(1, points + 1) / points, side="left")
        kept = np.unique(np.minimum(wanted, len(self.coverage) - 1))
        return RiskCoverage(self.threshold[kept], self.coverage[kept], self.risk[kept], self.area)


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> RiskCoverage:
    """Return the risk-coverage curve, a point for each distinct confidence, and the area below it.

    Images of equal confidence cannot be told apart: within a tie the area takes the mean over their orders.

    >>> risk_coverage(np.array([0.9, 0.8, 0.8]), np.array([True, True, False])).risk.round(3).tolist()
    [0.0, 0.333]
    """
    if not len(confidence):
        return RiskCoverage(np.empty(0), np.empty(0), np.empty(0), None)
    levels, tie_of, size = np.unique(-np.asarray(confidence, np.float64), return_inverse=True, return_counts=True)
    wrong = np.bincount(tie_of, weights=~np.asarray(correct, bool))
    answered = np.cumsum(size)
    place = np.arange(1, len(confidence) + 1)
    expected = np.cumsum(np.repeat(wrong / size, size))
    return RiskCoverage(
        -levels, answered / len(confidence), np.cumsum(wrong) / answered, float((expected / place).mean())
    )


@dataclass(frozen=True)
class LabelMetrics:
    """By label, each (c,): how many images have it, and precision, recall and F1, NaN where undefined.

    Precision is undefined for a label that was never named, recall for one that no image has, F1 for one that is
    neither.
    """

    n: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def per_label(counts: np.ndarray) -> LabelMetrics:
    """Return precision, recall and F1 of each label, from a `confusion` matrix, int (c, c)."""
    from sklearn.metrics import precision_recall_fscore_support

    labels = len(counts)
    if not counts.any():
        return LabelMetrics(np.zeros(labels, np.intp), *(np.full(labels, np.nan) for _ in range(3)))
    truth, named = (places.ravel() for places in np.indices(counts.shape))  # a million images are c x c weighted ones
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, named, labels=np.arange(labels), sample_weight=counts.ravel(), zero_division=np.nan
    )
    return LabelMetrics(counts.sum(axis=1), precision, recall, f1)


def macro_f1(labels: LabelMetrics) -> float | None:
    """Return the mean F1 of the labels that images have, [0, 1], higher is better; None without images."""
    return float(labels.f1[labels.n > 0].mean()) if labels.n.any() else None


def confusion(truth: np.ndarray, named: np.ndarray, labels: int) -> np.ndarray:
    """Return how often label i was called label j, int (c, c), from places int (n,)."""
    counts: np.ndarray = np.bincount(truth.astype(np.intp) * labels + named, minlength=labels * labels)
    return counts.reshape(labels, labels)


@dataclass(frozen=True)
class Paired:
    """Two who answered the same images.

    Attributes:
        n: images.
        difference: accuracy of the first less that of the second, [-1, 1].
        low, high: its 95 % interval (Bonett and Price 2012: adjusted Wald for paired shares).
        only_first, only_second: images that only one of them had right.
        p_value: McNemar's exact test: how probable so uneven a split is if both are equally good.
    """

    n: int
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float


def paired(first: np.ndarray, second: np.ndarray) -> Paired | None:
    """Compare who was right, bool (n,) each, on the same n images; None without images.

    >>> pair = paired(np.array([True] * 8 + [False] * 2), np.array([True] * 4 + [False] * 5 + [True]))
    >>> pair.difference, pair.only_first, pair.only_second, pair.p_value
    (0.3, 4, 1, 0.375)
    """
    from scipy.stats import binomtest

    n = len(first)
    if n == 0:
        return None
    b, c = int(np.sum(first & ~second)), int(np.sum(~first & second))
    low, high = _paired_interval(b, c, n)
    p_value = float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
    return Paired(n, (b - c) / n, low, high, b, c, p_value)


def _paired_interval(b: int, c: int, n: int) -> tuple[float, float]:
    """Return an interval that stays honest where few images differ, or none, for which a bootstrap has a width of 0."""
    from scipy.stats import norm

    p, q = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = float(norm.ppf(0.975)) * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return float(max(p - q - half, -1.0)), float(min(p - q + half, 1.0))


@dataclass(frozen=True)
class PairedChange:
    """What a second look, or whatever else came between two answers, changed on n images.

    Attributes:
        changed: images that were called otherwise afterwards.
        better: wrong before, right afterwards. worse: the other way round.
    """

    n: int
    changed: int
    better: int
    worse: int


def change(truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> PairedChange:
    """Compare the labels named before and after, places int (n,)."""
    was, now = before == truth, after == truth
    return PairedChange(len(truth), int((before != after).sum()), int((~was & now).sum()), int((was & ~now).sum()))


def by_name(counts: np.ndarray, names: tuple[str, ...]) -> Mapping[str, Mapping[str, int]]:
    """Return a confusion matrix, int (c, c), by name: by true label, how often each label was named."""
    return {true: dict(zip(names, row, strict=True)) for true, row in zip(names, counts.tolist(), strict=True)}
