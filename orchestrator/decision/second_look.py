"""Expected gain: whether a second look is worth asking for, before it is asked for.

Preposterior analysis (Raiffa and Schlaifer 1961; Howard, 'Information Value Theory', 1966). What the agent will say is
not known, but what it said of labelled images is: each of its second looks there is put in the place of its first look
at the image in question, and the fusion and the policy tell what would come of it. A diagnosis gets better if its label
becomes right, or if a right one that was to be referred is settled; it gets worse if a right label becomes wrong, or a
wrong one is settled. With pi the posterior,

    gain = sum over labels y of  pi(y) (P(better | y) - P(worse | y))

where the probabilities are shares of the labelled images of label y, of those which the agent first took for what it
takes this image for, if there are enough. So 0 <= chance of a change <= 1 and -1 <= gain <= 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from consilience.core.prediction import Stage, look_name
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.ensemble.fusion import Fusion

MIN_SECOND_LOOKS = 5
"""Labelled images of a label from which on those count alone whose first look named what it names now."""

MAX_SECOND_LOOKS = 500
"""Labelled images that are replayed for one image, at most, always the same ones."""

NO_LABEL = -1
"""What a first look named that abstained or failed."""


@dataclass(frozen=True)
class SecondLookAnswers:
    """The agents' second looks at the labelled images, from which it is foreseen what one more will bring.

    Attributes:
        agents: the k agents that look again.
        words: calibrated second looks, out of fold, float (k, n, c); rows of NaN where there was no answer.
        named: the labels that the first looks named, int (k, n); NO_LABEL where there was no answer.
        labels: the true labels, int (n,).
    """

    agents: tuple[str, ...]
    words: np.ndarray
    named: np.ndarray
    labels: np.ndarray

    @classmethod
    def none(cls) -> Self:
        """Return the answers of agents that never look again."""
        return cls((), np.empty((0, 0, 0)), np.empty((0, 0), np.intp), np.empty(0, np.intp))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return arrays for a file, which `from_arrays` restores."""
        agents = np.array(self.agents, dtype=np.str_)
        return {"agents": agents, "words": self.words, "named": self.named, "labels": self.labels}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore what `arrays` returned."""
        return cls(tuple(arrays["agents"].tolist()), arrays["words"], arrays["named"], arrays["labels"])

    def of(self, agent: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return an agent's answers (m, c), its first looks' labels (m,), the true ones (m,); m <= MAX_SECOND_LOOKS.

        Raises:
            ValueError: it is none of the agents.
        """
        place, rows = self.agents.index(agent), self._replayed
        return self.words[place, rows], self.named[place, rows], self.labels[rows]

    @cached_property
    def _replayed(self) -> np.ndarray:
        return np.random.default_rng(0).permutation(len(self.labels))[:MAX_SECOND_LOOKS]


@dataclass(frozen=True)
class Gain:
    """The chances that a second look makes a diagnosis better, and worse."""

    better: float
    worse: float

    @property
    def expected(self) -> float:
        """Return better - worse, [-1, 1]: the share of such diagnoses that gains."""
        return self.better - self.worse


@dataclass(frozen=True)
class ValueOfInformation:
    """Foresees what a second look would change.

    Attributes:
        seen: second looks at labelled images.
        looks: (agent, stage) of what can be weighed, in the order of `fusion`.
        fusion, policy: what a diagnosis is made with.
    """

    seen: SecondLookAnswers
    looks: Sequence[tuple[str, Stage]]
    fusion: Fusion
    policy: Policy

    def gain(self, agent: str, named: int, calibrated: np.ndarray, posterior: np.ndarray, novelty: float) -> Gain:
        """Return what is to be expected of the agent's second look at an image that is not settled.

        Args:
            agent: one of `seen`.
            named: the label that its first look named; NO_LABEL if it abstained.
            calibrated: (a, c), rows of NaN for looks not taken. posterior: (c,), of these.
            novelty: in [0, 1].
        """
        words, named_then, labels = self.seen.of(agent)
        chance = _chances(posterior, labels, named_then == named)
        answered = np.isfinite(words[:, 0])  # without an answer nothing changes
        words, labels, chance = words[answered], labels[answered], chance[answered]
        first, second = self.looks.index((agent, "first")), self.looks.index((agent, "second"))
        present = np.isfinite(calibrated[:, 0])
        present[first], present[second] = False, True
        after = np.repeat(calibrated[:, None, :], len(words), axis=1)  # (a, m, c)
        after[first], after[second] = np.nan, words
        weights = self.fusion.weights(present[None])[0]
        pooled = self.fusion.pooled(after, np.tile(weights, (len(words), 1)))
        after, weights = after[present], weights[present]
        names = [look_name(*look) for look, is_present in zip(self.looks, present, strict=True) if is_present]
        doubts = self.policy.doubts(
            pooled, after, np.tile(weights, (len(words), 1)), names, np.full(len(words), novelty)
        )
        is_right, was_right = doubts.named == labels, self.policy.named(posterior[None]) == labels
        better = is_right & (~was_right | doubts.settled)
        worse = ~is_right & (was_right | doubts.settled)
        return Gain(float(chance @ better), float(chance @ worse))


def _chances(posterior: np.ndarray, labels: np.ndarray, is_alike: np.ndarray) -> np.ndarray:
    """How probable it is that the image is such a case, for each of m labelled images."""
    enough = np.bincount(labels[is_alike], minlength=len(posterior)) >= MIN_SECOND_LOOKS
    counts = is_alike | ~enough[labels]
    cases = np.bincount(labels[counts], minlength=len(posterior))
    return np.where(counts, posterior[labels] / np.maximum(cases[labels], 1), 0.0)
