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
from consilience.retrieval.encoders.eye import Eye
from consilience.retrieval.encoders.prompt_tower import PromptTower

Features = np.ndarray
"""float32 (n, d), rows of unit length."""


SIMILARITY_ROWS = 1024
"""Images whose similarities to all labelled ones are held at a time."""

DUPLICATE_SIMILARITY = 1 - 1e-5
"""Cosine similarity from which on two vectors are the same image's: rounding differs from batch to batch."""


@dataclass(frozen=True)
class AgentInput:
    """The n images that an agent is asked about, as pixels and as features.

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
        """Return the input with these rows (indices of images) only, in this order."""
        index = np.asarray(rows, dtype=np.intp)
        images = [self.images[row] for row in rows]
        return AgentInput(
            self.task, images, self.features[index], self.neighbour_labels[index], self.similarities[index]
        )

    def seen_by(self, eye: Eye) -> AgentInput:
        """Return the input with the features of one eye of several; the neighbours are those of all eyes."""
        return replace(self, features=eye.of(self.features))


@runtime_checkable
class Agent(Protocol):
    """What looks at images and submits predictions; it knows nothing of other agents or of trust.

    `predict` and `revise` may be plain or async. Each returns one Prediction for each image, in order; what it
    raises is recorded as a failed prediction of each image. A plain one is asked about a batch at a time, an async
    one about each image by itself, many at once. An agent that also has an attribute `debates` that is true gets
    the other agents' first predictions in its second look, as `Evidence.testimony`.
    """

    @property
    def name(self) -> str:
        """The agent's name, unique within a panel and the same in each of its predictions."""
        ...

    @property
    def can_revise(self) -> bool:
        """Whether `revise` may be called, that is whether the agent can use evidence."""
        ...

    def predict(self, inputs: AgentInput) -> Sequence[Prediction] | Awaitable[Sequence[Prediction]]:
        """Return a prediction for each of the n images, in order: the first look."""
        ...

    def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> Sequence[Prediction] | Awaitable[Sequence[Prediction]]:
        """Return a new prediction for each of the n images, in order: the second look.

        Args:
            inputs: the images.
            first: the agent's own n first predictions.
            evidence: for each image the labelled cases that look like it.
        """
        ...


@runtime_checkable
class Captioner(Agent, Protocol):
    """An agent that can also describe images in words."""

    def caption(self, inputs: AgentInput) -> Sequence[Prediction] | Awaitable[Sequence[Prediction]]:
        """Return an abstention for each of the n images, in order, whose rationale is the description."""
        ...


def testimony_for(agent: Agent, predictions: Iterable[Prediction]) -> tuple[Prediction, ...]:
    """Return the first predictions of one image that come from other agents and did not fail.

    Empty unless the agent debates (its attribute `debates` is true).
    """
    if not getattr(agent, "debates", False):
        return ()
    return tuple(
        prediction
        for prediction in predictions
        if prediction.agent != agent.name and prediction.stage == "first" and prediction.error is None
    )


@dataclass(frozen=True)
class LabelTexts:
    """What an encoder with a text tower knows of the labels, as in `LabelledFeatures`."""

    texts: Features
    captions: tuple[Features, np.ndarray]
    described: Features | None = None
    tower: PromptTower | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class LabelledFeatures:
    """Labelled images as an encoder sees them, or several side by side.

    Attributes:
        features: float32 (n, d), rows of unit length.
        labels: int (n,), in [0, n_labels).
        n_labels: number of labels in the task.
        texts: float32 (n_labels, d), unit-length embeddings of what each label looks like, where the
            encoder has a text tower; else None.
        tower: that text tower, to train through, where it allows that; else None.
        captions: the single texts of which `texts` are the means, float32 (m, d), and their labels, int (m,); or None.
        described: embeddings of a vision-language agent's description of each image, float32 (n, d), rows of unit
            length, or of zeros where there is no description; None where no agent was asked.
        unlabelled: other images, whose labels nobody knows, float32 (m, d), rows of unit length; None where none were
            given.
        groups: number of the group (the thing shown) of each image, int (n,); by default each is a group of its own.
            An image is never judged by what was learned from its group.
        eyes: which of the features come from which encoder, where there are several.
        texts_of: what each eye with a text tower knows of the labels, by its name; for one encoder it stands above.
    """

    features: Features
    labels: np.ndarray
    n_labels: int
    texts: Features | None = None
    captions: tuple[Features, np.ndarray] | None = None
    described: Features | None = None
    unlabelled: Features | None = None
    tower: PromptTower | None = field(default=None, repr=False, compare=False)
    groups: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    eyes: tuple[Eye, ...] = ()
    texts_of: Mapping[str, LabelTexts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.groups):
            object.__setattr__(self, "groups", np.arange(len(self.labels)))

    @property
    def reads_texts(self) -> bool:
        """Whether the labels' texts are known, to one eye at least."""
        return self.texts is not None or bool(self.texts_of)

    def take(self, rows: np.ndarray) -> LabelledFeatures:
        """Return the labelled images of these rows (indices, or a mask); the texts and unlabelled images stay."""
        described = None if self.described is None else self.described[rows]
        features, labels, groups = self.features[rows], self.labels[rows], self.groups[rows]
        texts_of = {
            eye: texts if texts.described is None else replace(texts, described=texts.described[rows])
            for eye, texts in self.texts_of.items()
        }
        return replace(self, features=features, labels=labels, described=described, groups=groups, texts_of=texts_of)

    def seen_by(self, eye: Eye) -> LabelledFeatures:
        """Return the labelled images as one eye of several sees them."""
        texts = self.texts_of.get(eye.name)
        return LabelledFeatures(
            eye.of(self.features),
            self.labels,
            self.n_labels,
            unlabelled=None if self.unlabelled is None else eye.of(self.unlabelled),
            groups=self.groups,
            **({} if texts is None else vars(texts)),
        )

    def with_unlabelled(self, vectors: Features) -> LabelledFeatures:
        """Return the same data with `vectors` (m, d) as the unlabelled images.

        Vectors that equal a labelled image's (cosine similarity from DUPLICATE_SIMILARITY) are left out: the label is
        known.
        """
        return replace(self, unlabelled=vectors[nearest_similarities(vectors, self.features) < DUPLICATE_SIMILARITY])


@dataclass(frozen=True, eq=False)
class LinearLogits:
    """The logits of a head that is linear in its features: weights @ features + bias.

    Attributes:
        weights: float64 (n_labels, d).
        bias: float64 (n_labels,); -inf for a label without images.
    """

    weights: np.ndarray
    bias: np.ndarray


class Head(ABC):
    """A fitted classifier head on encoder features, as an agent.

    Attributes:
        name: the agent's name, by which panels and commands call it.
    """

    name: str
    needs_unlabelled: ClassVar[bool] = False
    can_revise: ClassVar[bool] = False

    @abstractmethod
    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        """Return the probability of each label for each image, float64 (n, n_labels); rows sum to 1."""

    def linear(self) -> LinearLogits | None:
        """Return what its probabilities are the softmax of, where that is linear in the features; else None."""
        return None

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return what restores it beside the panel's labelled features, as named arrays."""

    @abstractmethod
    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Return the head after images were added and removed.

        Args:
            data: all labelled images that are there now.
            added: those that are new since the last fit.
            removed: those that are gone since.
        """

    def predict(self, inputs: AgentInput) -> Sequence[Prediction]:
        """Return `predict_proba` as a prediction for each of the n images."""
        names = inputs.task.names
        return [
            Prediction(self.name, probabilities=dict(zip(names, row, strict=True)))
            for row in self.predict_proba(inputs).tolist()
        ]

    def revise(
        self, inputs: AgentInput, first: Sequence[Prediction], evidence: Sequence[Evidence]
    ) -> Sequence[Prediction]:
        """Raise TypeError: a head cannot use evidence, so it has no second look."""
        raise TypeError(f"'{self.name}' has no second look")


class FeatureAgent(Head):
    """A kind of head: `fit` makes one from labelled features, `from_arrays` restores one without pickle.

    Attributes:
        usual_error: mean squared error expected of this kind of head, relative to a good linear head (1.0). Its weight
            follows from this until labelled images tell more. Among linear heads generative ones are ahead with few
            images and discriminative ones with many (Ng and Jordan 2002): beforehand, both count as equally good.
        needs_text: whether it needs an encoder with a text tower.
        needs_tower: whether it is trained through that text tower.
        needs_unlabelled: whether it needs unlabelled images beside the labelled ones.
        needs_neighbours: whether it looks at the nearest cases in the memory.
        trains: whether fitting takes many steps, and more than one image a label.
    """

    usual_error: ClassVar[float] = 1.0
    needs_text: ClassVar[bool] = False
    needs_tower: ClassVar[bool] = False
    needs_neighbours: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return a head fitted on the data, with its settings chosen on them alone.

        Raises:
            AgentError: the data lack what this kind needs, such as texts.
        """

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        """Return the head that `arrays` was called on; `data` holds the panel's labelled features."""

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Return the head after images were added and removed; by default a new fit, see `Head.updated`."""
        return type(self).fit(data)


def nearest_similarities(vectors: Features, others: Features) -> np.ndarray:
    """Return the cosine similarity of each vector (m, d) to the nearest of the others (n, d), n > 0: (m,)."""
    nearest = np.empty(len(vectors), vectors.dtype)
    for start in range(0, len(vectors), SIMILARITY_ROWS):
        (vectors[start : start + SIMILARITY_ROWS] @ others.T).max(axis=1, out=nearest[start : start + SIMILARITY_ROWS])
    return nearest


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of each row of logits (n, c): probabilities, float64 (n, c)."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def one_hot(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Return labels int (n,) as indicators, float64 (n, n_labels): 1 in the column of the label, else 0."""
    return np.asarray(np.eye(n_labels)[labels])
