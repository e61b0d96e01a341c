"""Prompt learning: CLIP's zero-shot classifier with learned vectors in the place of 'a photo of a'.

K. Zhou, J. Yang, C. C. Loy, Z. Liu, 'Learning to Prompt for Vision-Language Models', IJCV 2022 (CoOp, one context for
all labels): p(y) = softmax(100 f . g([v_1, ..., v_m, name of y])), where g is the frozen text tower and the vectors v
are trained by cross-entropy. Here they start from the words' own embeddings.
"""

from __future__ import annotations

import numpy as np

from consilience.agents.heads.trained_texts import Reader, TrainedTexts
from consilience.retrieval.encoders.prompt_tower import PromptTower


class CoOp(TrainedTexts):
    """CoOp head: learns m context vectors in place of the words of a prompt, float32 (m, width)."""

    name = "coop"
    learns = "context"
    steps = (0, 5, 15, 40)
    usual_steps = 15
    rate = 1e-3  # an embedding's numbers are about 0.02

    @staticmethod
    def reader(tower: PromptTower) -> tuple[np.ndarray, Reader]:
        return tower.start(), tower
