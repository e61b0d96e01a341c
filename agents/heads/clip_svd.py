"""CLIP-SVD: CLIP's zero-shot classifier with learned singular values of its matrices.

T. Koleilat, H. Rivaz, Y. Xiao, 'Singular Value Few-shot Adaptation of Vision-Language Models', 2025, arXiv 2509.03740:
of each matrix W = U diag(s) V^T of the attention (queries, keys, values and output, each by itself) and of the MLPs, U
and V stay and s is trained by cross-entropy.

The paper tunes both towers, on batches of images. Here images are embedded once, so that only the text tower is tuned:
what a label's words mean changes, what is seen in an image does not. A singular value is learned as s (1 + d) rather
than by itself, so that one step size suits all of them.
"""

from __future__ import annotations

import numpy as np

from consilience.agents.heads.trained_texts import Reader, TrainedTexts
from consilience.retrieval.encoders.prompt_tower import PromptTower


class ClipSvd(TrainedTexts):
    """CLIP-SVD head: learns the relative change d of each singular value, one vector for all matrices."""

    name = "clip-svd"
    learns = "changes"
    steps = (0, 2, 5, 15)
    usual_steps = 2
    rate = 5e-3

    @staticmethod
    def reader(tower: PromptTower) -> tuple[np.ndarray, Reader]:
        return np.zeros(tower.singular.size, dtype=np.float32), tower.singular
