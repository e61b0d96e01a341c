"""Zero-shot CLIP: the label whose description lies nearest to the image (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from consilience.agents.base import AgentInput, FeatureAgent, Features, LabelledFeatures, softmax
from consilience.core.errors import AgentError

LOGIT_SCALE = 100.0
"""CLIP's learned temperature at the end of its training, and the bound that it was clipped to."""


class ZeroShot(FeatureAgent):
    """Zero-shot head: learns nothing from the labelled images; needs an encoder with a text tower."""

    name = "zero-shot"
    needs_text = True

    def __init__(self, texts: Features) -> None:
        self.texts = texts

    @classmethod
    def fit(cls, data: LabelledFeatures) -> Self:
        """Return the head; of the data it uses the texts alone.

        Raises:
            AgentError: the encoder has no text tower.
        """
        if data.texts is None:
            raise AgentError("the agent 'zero-shot' needs an encoder with a text tower, such as open_clip:...")
        return cls(data.texts)

    def predict_proba(self, inputs: AgentInput) -> np.ndarray:
        return softmax(LOGIT_SCALE * inputs.features @ self.texts.T)

    def updated(self, data: LabelledFeatures, added: LabelledFeatures, removed: LabelledFeatures) -> Self:
        """Return the same head: images teach it nothing."""
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {"texts": self.texts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], data: LabelledFeatures) -> Self:
        return cls(arrays["texts"])
