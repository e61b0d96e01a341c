"""The training loop of heads that tune, on labelled images, the text embeddings of the labels (CoOp, CLIP-SVD).

The images' features f are fixed. On all of them at once, Adam minimises the cross-entropy of softmax(100 f . text); the
number of steps is chosen on a third of the images, which is held out. No step leaves the text tower as it was.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, Features, LabelledFeatures, softmax
from consilience.agents.heads.folds import inner_folds
from consilience.agents.heads.model_selection import softened_log_loss
from consilience.agents.heads.zero_shot import LOGIT_SCALE
from consilience.core.errors import AgentError, import_extra
from consilience.retrieval.encoders.prompt_tower import PromptTower

Reader = Callable[[Any], Any]
"""Turns a tensor of the learned numbers into unit vectors, a tensor (c, d), through which gradients flow."""


class TrainedTexts(FeatureAgent):
    """A zero-shot head whose text embeddings were trained on labelled images; subclasses say what is learned.

    Once trained it needs no text tower: it holds the embeddings, float32 (c, d), that the tower made of the learned
    numbers. Images that are added to a panel do not change it; fit the panel anew.

    Attributes:
        learns: what the learned numbers are called in a panel's files.
        steps: numbers of steps to choose from, ascending. usual_steps: with too few images to choose.
        rate: step size of Adam.
    """

    needs_text = True
    needs_tower = True
    trains = True
    learns: ClassVar[str]
    steps: ClassVar[tuple[int, ...]]
    usual_steps: ClassVar[int]
    rate: ClassVar[float]

    def __init__(self, texts: Features, learned: np.ndarray) -> None:
        self.texts, self.learned = texts, learned

    @staticmethod
    @abstractmethod
    def reader(tower: PromptTower) -> tuple[np.ndarray, Reader]:
        """Return the numbers to start training from, float32, and the function that turns them into embeddings."""

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head, trained through the encoder's text tower.

        Raises:
            AgentError: the encoder has no text tower that can be trained through.
            MissingExtraError: the extra 'clip' is not installed.
        """
        if data.tower is None:
            raise AgentError(
                f"the agent '{cls.name}' needs an encoder with a text tower of open_clip's own, open_clip:..."
            )
        return cls(*cls._trained(data, (cls._best_steps(data),))[0])

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return softmax(LOGIT_SCALE * inputs.features @ self.texts.T)

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Return the same head: it is not trained again."""
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {"texts": self.texts, self.learns: self.learned}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        return cls(arrays["texts"], arrays[cls.learns])

    @classmethod
    def _best_steps(cls, data: LabelledFeatures) -> int:
        """Return the number of steps with the least log loss on the first inner fold; `usual_steps` without folds."""
        for train, test in inner_folds(data.labels, data.groups):
            by_fold = cls._trained(data.take(train), cls.steps)
            scores = [softmax(LOGIT_SCALE * data.features[test] @ texts.T) for texts, _ in by_fold]
            return cls.steps[
                int(np.argmin([softened_log_loss(fold_scores, data.labels[test]) for fold_scores in scores]))
            ]
        return cls.usual_steps

    @classmethod
    def _trained(cls, data: LabelledFeatures, steps: tuple[int, ...]) -> list[tuple[Features, np.ndarray]]:
        """Return the texts' embeddings, float32 (c, d), and the learned numbers, after each of the numbers of steps."""
        torch = import_extra("torch", "clip")
        start, read = cls.reader(data.tower)  # type: ignore[arg-type]  # `fit` has seen to it
        learned = torch.tensor(start, requires_grad=True)
        features, labels = torch.tensor(data.features), torch.tensor(data.labels)
        optimizer = torch.optim.Adam([learned], lr=cls.rate)
        fitted = []
        for step in range(max(steps) + 1):
            texts = read(learned).float().cpu()
            if step in steps:
                fitted.append((texts.detach().numpy().copy(), learned.detach().numpy().copy()))
            if step < max(steps):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(LOGIT_SCALE * features @ texts.T, labels).backward()
                optimizer.step()
        return fitted
