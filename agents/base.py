"""The protocol that every agent follows, and the base of those that read encoder features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from consilience.core.evidence import Evidence
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from consilience.core.task import Task
from consilience.retrieval.encoders.prompt_tower import PromptTower

Features = np.ndarray
"""float32 (n, d), rows of unit length."""


SIMILARITY_ROWS = 1024
"""Images whose similarities to all labelled ones are held at a time."""

DUPLICATE_SIMILARITY = 1 - 1e-5
"""Cosine similarity from which on two vectors are the same image's: rounding differs from batch to batch."""


@dataclass(frozen=True)
class AgentInput:
    """What an agent may look at: n images of one run, as pixels and as features.

    Attributes:
        task: the question.
        images: n images; None where only vectors were given (`precomputed`).
        features: float32 (n, d), rows of unit length.
        neighbour_labels: int (n, k), the labels of each image's nearest cases in the memory, nearest
            first; -1 where there are fewer than k.
        similarities: float32 (n, k), their cosine similarities.
    """

    task: Task
    images: Sequence[Image | None]
    features: Features
    neighbour_labels: np.ndarray
    similarities: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Sequence[int]) -> AgentInput:
        """The input of some rows only."""
        index = np.asarray(rows, dtype=np.intp)
        images = [self.images[row] for row in rows]
        return AgentInput(
            self.task, images, self.features[index], self.neighbour_labels[index], self.similarities[index]
        )


@runtime_checkable
class Agent(Protocol):
    """Looks at images and submits predictions; knows nothing of other agents or of trust.

    `predict` and `revise` may be plain or async. Each returns one Prediction a view, in order; what it
    raises is recorded as a failed prediction of each view. A plain one is asked about a batch at a time, an async
    one about each image by itself, many at once. `revise` is asked only of an agent whose `can_revise` is true,
    with its own first predictions and the evidence; and of an agent with an attribute `debates` that is true, with
    what the others said at first, as `Evidence.testimony`.
    """

    @property
    def name(self) -> str: ...

    @property
    def can_revise(self) -> bool: ...

    def predict(self, inputs: AgentInput) -> Sequence[Prediction] | Awaitable[Sequence[Prediction]]: ...

    def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> Sequence[Prediction] | Awaitable[Sequence[Prediction]]: ...


@runtime_checkable
class Captioner(Agent, Protocol):
    """An agent that can say what it sees in images: `caption` is as `predict`, but its predictions are abstentions, and
    their rationales the captions.
    """

    def caption(self, inputs: AgentInput) -> Sequence[Prediction] | Awaitable[Sequence[Prediction]]: ...


def testimony_for(agent: Agent, predictions: Iterable[Prediction]) -> tuple[Prediction, ...]:
    """What others answered among the first predictions of one image, if the agent debates; else nothing."""
    if not getattr(agent, "debates", False):
        return ()
    return tuple(
        prediction
        for prediction in predictions
        if prediction.agent != agent.name and prediction.stage == "first" and prediction.error is None
    )


@dataclass(frozen=True)
class LabelledFeatures:
    """Labelled images as an encoder sees them.

    Attributes:
        features: float32 (n, d), rows of unit length.
        labels: int (n,), in [0, n_labels).
        n_labels: number of labels in the task.
        texts: float32 (n_labels, d), unit-length embeddings of what each label looks like, where the
            encoder has a text tower; else None.
        tower: that text tower, to train through, where it allows that; else None.
        captions: the single texts behind them, float32 (m, d), and the label of each, int (m,); or None.
        described: what a vision-language agent says of each image, embedded, float32 (n, d), rows of unit length, or of
            zeros where it says nothing; None where none was asked.
        unlabelled: other images, whose labels nobody knows, float32 (m, d), rows of unit length; None where none were
            given.
    """

    features: Features
    labels: np.ndarray
    n_labels: int
    texts: Features | None = None
    captions: tuple[Features, np.ndarray] | None = None
    described: Features | None = None
    unlabelled: Features | None = None
    tower: PromptTower | None = field(default=None, repr=False, compare=False)

    def take(self, rows: np.ndarray) -> LabelledFeatures:
        described = None if self.described is None else self.described[rows]
        return replace(self, features=self.features[rows], labels=self.labels[rows], described=described)

    def with_unlabelled(self, vectors: Features) -> LabelledFeatures:
        """With those of the vectors (m, d) that are no labelled image's: of these the labels are known."""
        return replace(self, unlabelled=vectors[nearest_similarities(vectors, self.features) < DUPLICATE_SIMILARITY])


class FeatureAgent(ABC):
    """An agent that is a classifier head on encoder features.

    `fit` makes one from labelled features, `predict_proba` gives probabilities, `arrays` and `from_arrays`
    write and restore it without pickle.

    Attributes:
        usual_error: mean squared error that this kind of head makes, against that of a good linear head: what its
            weight follows from until labelled images tell. Among linear ones generative heads are ahead with few images
            and discriminative ones with many (Ng and Jordan 2002): beforehand, they are as good as each other.
        needs_text: whether it needs an encoder with a text tower.
        needs_tower: whether it is trained through that text tower.
        needs_unlabelled: whether it needs unlabelled images beside the labelled ones.
        trains: whether fitting takes many steps, and more than one image a label.
    """

    name: ClassVar[str]
    usual_error: ClassVar[float] = 1.0
    needs_text: ClassVar[bool] = False
    needs_tower: ClassVar[bool] = False
    needs_unlabelled: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    can_revise: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, data: LabelledFeatures) -> Self: ...

    @abstractmethod
    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        """Probabilities float64 (n, n_labels); rows sum to 1."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` needs beside the labelled features of the panel."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self: ...

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """The head after images came and went; `data` holds all that are there now. Here: a new fit."""
        return type(self).fit(data)

    def predict(self, inputs: AgentInput) -> Sequence[Prediction]:
        names = inputs.task.names
        return [
            Prediction(self.name, probabilities=dict(zip(names, row, strict=True)))
            for row in self.predict_proba(inputs).tolist()
        ]

    def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> Sequence[Prediction]:
        raise TypeError(f"'{self.name}' has no second look")


def nearest_similarities(vectors: Features, others: Features) -> np.ndarray:
    """Cosine similarity of each vector (m, d) to the nearest of the others (n, d), n > 0: (m,)."""
    nearest = np.empty(len(vectors), vectors.dtype)
    for start in range(0, len(vectors), SIMILARITY_ROWS):
        (vectors[start : start + SIMILARITY_ROWS] @ others.T).max(axis=1, out=nearest[start : start + SIMILARITY_ROWS])
    return nearest


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of (n, c) as probabilities float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def one_hot(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """float64 (n, n_labels)."""
    return np.asarray(np.eye(n_labels)[labels])
