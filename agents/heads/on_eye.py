"""Heads that read one eye of several, such as 'probe@lite2'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, Features, Head, LabelledFeatures, LinearLogits
from consilience.agents.heads.self_trained import SelfTrained
from consilience.core.errors import AgentError
from consilience.retrieval.encoders.eye import Eye

AT = "@"


class OnEye(Head):
    """A fitted head that is shown what one eye of several sees.

    Attributes:
        head: the head itself.
        eye: what it reads.
    """

    def __init__(self, head: FeatureAgent, eye: Eye) -> None:
        self.name, self.head, self.eye = f"{head.name}{AT}{eye.name}", head, eye

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return self.head.predict_proba(inputs.seen_by(self.eye))

    def linear(self) -> LinearLogits | None:
        return self.head.linear()

    def arrays(self) -> dict[str, np.ndarray]:
        return self.head.arrays()

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        head = self.head.updated(data.seen_by(self.eye), added.seen_by(self.eye), removed.seen_by(self.eye))
        return type(self)(head, self.eye)


def head_itself(head: Head) -> Head:
    """Return a head without the eye that it reads."""
    return head.head if isinstance(head, OnEye) else head


def unlabelled_of(heads: Iterable[Head], dimension: int) -> Features | None:
    """Return the unlabelled images that heads learned from, float32 (m, dimension); None if none did.

    An eye through which no head looked at them stays 0: no head will.
    """
    vectors: Features | None = None
    for head in heads:
        learned = head_itself(head)
        if not isinstance(learned, SelfTrained):
            continue
        if not isinstance(head, OnEye):
            return learned.unlabelled
        if vectors is None:
            vectors = np.zeros((len(learned.unlabelled), dimension), np.float32)
        vectors[:, head.eye.start : head.eye.stop] = learned.unlabelled * np.float32(head.eye.scale)
    return vectors


@dataclass(frozen=True)
class HeadOnEye:
    """A kind of head together with the name of the eye that it reads; it fits and restores heads as a kind does."""

    kind: type[FeatureAgent]
    eye: str

    @property
    def name(self) -> str:
        """Return the agent's name, such as 'probe@lite2'."""
        return f"{self.kind.name}{AT}{self.eye}"

    @property
    def needs_unlabelled(self) -> bool:
        """Return whether it needs unlabelled images beside the labelled ones."""
        return self.kind.needs_unlabelled

    @property
    def needs_neighbours(self) -> bool:
        """Return whether it looks at the nearest cases in the memory."""
        return self.kind.needs_neighbours

    @property
    def trains(self) -> bool:
        """Return whether fitting takes many steps, and more than one image a label."""
        return self.kind.trains

    def fit(self, data: LabelledFeatures) -> OnEye:
        """Return the head, fitted on what the eye sees.

        Raises:
            AgentError: there is no such eye, or as `FeatureAgent.fit` does.
        """
        eye = self._eye(data)
        return OnEye(self.kind.fit(data.seen_by(eye)), eye)

    def from_arrays(self, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> OnEye:
        """Return the head that `arrays` was called on."""
        eye = self._eye(data)
        return OnEye(self.kind.from_arrays(arrays, data.seen_by(eye)), eye)

    def _eye(self, data: LabelledFeatures) -> Eye:
        for eye in data.eyes:
            if eye.name == self.eye:
                return eye
        known = ", ".join(eye.name for eye in data.eyes) or "only one, which is not named"
        raise AgentError(f"there is no eye '{self.eye}' for the agent '{self.name}'; there are: {known}")
