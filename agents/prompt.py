"""Prompt learning: CLIP's zero-shot classifier with learned vectors in the place of 'a photo of a'.

K. Zhou, J. Yang, C. C. Loy, Z. Liu, 'Learning to Prompt for Vision-Language Models', IJCV 2022 (CoOp, one context for
all labels): p(y) = softmax(100 f . g([v_1, ..., v_m, name of y])), where g is the frozen text tower and the vectors v
are trained by cross-entropy. Here on the images' features, all at once, from the words' own embeddings, by Adam; the
number of steps is chosen on a third of the images, which is held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from consilience.agents.base import FeatureAgent, Features, LabelledFeatures, Views, softmax
from consilience.agents.tuning import inner_folds, log_loss
from consilience.agents.zero_shot import LOGIT_SCALE
from consilience.errors import AgentError, import_extra

STEPS = (0, 5, 15, 40)
"""Numbers of steps to choose from."""

USUAL_STEPS = 15
"""Where there is nothing to choose by."""

RATE = 1e-3
"""Step size of Adam; an embedding's numbers are about 0.02."""


class Prompt(FeatureAgent):
    """Once trained it needs no text tower: it holds what the tower made of the learned vectors.

    Images that are added to a panel do not change it; fit the panel anew.
    """

    name = "prompt"
    needs_text = True
    needs_tower = True
    trains = True

    def __init__(self, texts: Features, context: np.ndarray) -> None:
        self.texts, self.context = texts, context

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        if data.tower is None:
            raise AgentError("the agent 'prompt' needs an encoder with a text tower of open_clip's own, open_clip:...")
        return cls(*_trained(data, (_steps(data),))[0])

    def predict(self, views: Views) -> np.ndarray:
        return softmax(LOGIT_SCALE * views.features @ self.texts.T)

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {"texts": self.texts, "context": self.context}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        return cls(arrays["texts"], arrays["context"])


def _steps(data: LabelledFeatures) -> int:
    """The number of steps with the least log loss on what the first inner fold holds out."""
    for train, test in inner_folds(data.labels):
        said = [softmax(LOGIT_SCALE * data.features[test] @ texts.T) for texts, _ in _trained(data.take(train), STEPS)]
        return STEPS[int(np.argmin([log_loss(one, data.labels[test]) for one in said]))]
    return USUAL_STEPS


def _trained(data: LabelledFeatures, steps: tuple[int, ...]) -> list[tuple[Features, np.ndarray]]:
    """What the tower makes of the labels, float32 (c, d), and the vectors (m, width), after each number of steps."""
    torch = import_extra("torch", "clip")
    tower: Any = data.tower
    context = torch.tensor(tower.start(), requires_grad=True)
    features, labels = torch.from_numpy(data.features), torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam([context], lr=RATE)
    found = []
    for step in range(max(steps) + 1):
        texts = tower(context).float().cpu()
        if step in steps:
            found.append((texts.detach().numpy().copy(), context.detach().numpy().copy()))
        if step < max(steps):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(LOGIT_SCALE * features @ texts.T, labels).backward()
            optimizer.step()
    return found
