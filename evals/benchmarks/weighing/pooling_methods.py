"""Ways to make one posterior of what several agents say: the project's, and what people would use instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from consilience.agents.base import one_hot, softmax
from consilience.core.task import Task
from consilience.orchestrator.ensemble.agreement import agreed_labels
from consilience.orchestrator.ensemble.cross_fitting import split_into_folds
from consilience.orchestrator.ensemble.fusion import Fusion
from consilience.orchestrator.ensemble.scaling import TemperatureScaling, log_probabilities
from consilience.orchestrator.fitting.collect import MemberAnswers
from consilience.orchestrator.fitting.fit_ensemble import judge_all

OURS = "consilience"
NEW_IMAGES = 1000


@dataclass(frozen=True)
class Split:
    """What agents said of labelled images, raw (a, n, c) with rows of NaN for no answer, and of new ones."""

    known: np.ndarray
    labels: np.ndarray
    new: np.ndarray
    truth: np.ndarray

    @classmethod
    def drawn(cls, raw: np.ndarray, labels: np.ndarray, known: int, seed: int) -> Split:
        """Return a split with so many labelled images, drawn at random."""
        order = np.random.default_rng(seed).permutation(len(labels))
        rows, others = order[:known], order[known : known + NEW_IMAGES]
        return cls(raw[:, rows], labels[rows], raw[:, others], labels[others])

    @property
    def shares(self) -> np.ndarray:
        """Return the share of each label among the labelled images, (c,), one more counted of each."""
        counts = np.bincount(self.labels, minlength=self.known.shape[2]) + 1.0
        return np.asarray(counts / counts.sum())


Method = Callable[[Split], np.ndarray]
"""Returns the posterior of the new images, (n, c)."""


def answered(raw: np.ndarray) -> np.ndarray:
    """Return which rows of (..., c) hold an answer."""
    return np.asarray(np.isfinite(raw).all(axis=-1))


def consilience_pool(split: Split) -> np.ndarray:
    """Return the posterior of calibrators and weights as `fit` learns them."""
    folds = split_into_folds(split.labels, 0)
    answers = [MemberAnswers.as_given(str(number), "first", raw) for number, raw in enumerate(split.known)]
    kept = [number for number, raw in enumerate(split.known) if len(np.unique(folds[answered(raw)])) > 1]
    if not kept:
        return np.tile(split.shares, (split.new.shape[1], 1))
    task = Task.from_labels([str(label) for label in range(split.known.shape[2])])
    members, fitted = judge_all([answers[number] for number in kept], split.labels, folds, task)
    new = split.new[kept]
    for place, (member, raw) in enumerate(zip(members, split.new[kept], strict=True)):
        if (speaks := answered(raw)).any():
            new[place, speaks] = member.calibrator(raw[speaks])
    return Fusion.from_predictions(fitted, split.labels).posterior(new)[0]


def majority(split: Split) -> np.ndarray:
    """Return the shares of the votes; a draw goes to the more frequent label."""
    votes = np.where(answered(split.new)[:, :, None], one_hot(_named(split.new), split.new.shape[2]), 0.0).sum(axis=0)
    votes = votes + 0.5 * split.shares
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def agreement(split: Split) -> np.ndarray:
    """Return the labels that the new answers agree on, as `fit --no-truth` learns them; the known ones are not used."""
    return agreed_labels(split.new).posterior


def best_agent(split: Split) -> np.ndarray:
    """Return what the agent says that was right most often, at its best temperature."""
    right = (_named(split.known) == split.labels) & answered(split.known)
    best = int(right.sum(axis=1).argmax())
    calibrated = _at_best_temperature(split, best)
    return np.asarray(np.where(answered(split.new[best])[:, None], calibrated, split.shares))


def equal_pool(split: Split) -> np.ndarray:
    """Return the product of what all say at their best temperatures."""
    logs = [np.where(spoke, log_probabilities(np.nan_to_num(said)), 0.0) for said, spoke in _scaled(split)]
    return softmax(np.sum(logs, axis=0))


def temperature_mean(split: Split) -> np.ndarray:
    """Return the mean of what all say at their best temperatures."""
    total = sum(np.where(spoke, np.nan_to_num(p), 0.0) for p, spoke in _scaled(split)) + 1e-6 * split.shares
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def confusion_product(split: Split) -> np.ndarray:
    """Return the product of confusion matrices counted on the labelled images, each cell one more (naive Bayes)."""
    logits = np.tile(np.log(split.shares), (split.new.shape[1], 1))
    for known, new in zip(split.known, split.new, strict=True):
        logits += _word_evidence(known, one_hot(split.labels, new.shape[1]), new, 1.0)
    return softmax(logits)


def dawid_skene(split: Split) -> np.ndarray:
    """Return the labels by EM on labelled and new images together (Dawid and Skene 1979), the known labels held."""
    n, c = len(split.labels), split.new.shape[2]
    raw = np.concatenate([split.known, split.new], axis=1)
    truth = np.concatenate([one_hot(split.labels, c), majority(split)])
    for _ in range(30):
        logits = np.tile(np.log((truth.sum(axis=0) + 1) / (len(truth) + c)), (len(truth), 1))
        for agent in raw:
            logits += _word_evidence(agent, truth, agent, 0.1)
        after = np.concatenate([one_hot(split.labels, c), softmax(logits)[n:]])
        if np.abs(after - truth).max() < 1e-4:
            break
        truth = after
    return np.asarray(truth[n:])


def stacking(split: Split) -> np.ndarray:
    """Return a multinomial logistic regression on all log probabilities (Wolpert 1992), scikit-learn's C = 1."""
    from sklearn.linear_model import LogisticRegression

    def inputs(raw: np.ndarray) -> np.ndarray:
        logs = np.log(np.maximum(np.nan_to_num(raw), 1e-3))
        logs = np.where(answered(raw)[:, :, None], logs - logs.mean(axis=2, keepdims=True), 0.0)
        return np.asarray(logs.transpose(1, 0, 2).reshape(raw.shape[1], -1))

    model = LogisticRegression(max_iter=300).fit(inputs(split.known), split.labels)
    posterior = np.full(split.new.shape[1:], 1e-6)
    posterior[:, model.classes_] = model.predict_proba(inputs(split.new))
    return np.asarray(posterior / posterior.sum(axis=1, keepdims=True))


METHODS: Mapping[str, Method] = {
    OURS: consilience_pool,
    "best agent": best_agent,
    "majority vote": majority,
    "equal log pool": equal_pool,
    "temperature + mean": temperature_mean,
    "confusion product": confusion_product,
    "Dawid-Skene": dawid_skene,
    "stacking": stacking,
}

WITHOUT_TRUTH: Mapping[str, Method] = {OURS: agreement, "majority vote": majority, "Dawid-Skene": dawid_skene}
"""What needs no labelled images."""


def _named(raw: np.ndarray) -> np.ndarray:
    return np.asarray(np.nan_to_num(raw).argmax(axis=-1))


def _at_best_temperature(split: Split, agent: int) -> np.ndarray:
    """Return what an agent says of the new images, (n, c), NaN without an answer or without one that is known."""
    known, new = split.known[agent], split.new[agent]
    spoke, speaks, scaled = answered(known), answered(new), np.full_like(new, np.nan)
    if spoke.any() and speaks.any():
        scaled[speaks] = TemperatureScaling.fit(known[spoke], split.labels[spoke])(new[speaks])
    return np.asarray(scaled)


def _scaled(split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for agent in range(len(split.new)):
        scaled = _at_best_temperature(split, agent)
        yield scaled, answered(scaled)[:, None]


def _word_evidence(known: np.ndarray, truth: np.ndarray, new: np.ndarray, more: float) -> np.ndarray:
    """Return log P(it names x | y) for new answers (n, c), by truths (m, c) of known ones; 0 for no answer."""
    c = new.shape[1]
    counts = truth.T @ np.where(answered(known)[:, None], one_hot(_named(known), c), 0.0) + more
    logs = np.log(counts / counts.sum(axis=1, keepdims=True)).T[_named(new)]
    return np.asarray(np.where(answered(new)[:, None], logs, 0.0))
