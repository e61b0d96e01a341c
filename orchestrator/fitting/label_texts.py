"""Embedded texts of the labels, which some heads are fitted on."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from consilience.agents import LabelledFeatures
from consilience.core.task import Task
from consilience.prompts import zero_shot_texts
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.open_clip_encoder import ClipEncoder

log = logging.getLogger(__name__)


def with_texts(data: LabelledFeatures, encoder: Encoder, task: Task) -> LabelledFeatures:
    """Return the data with embedded texts of the labels, if the encoder reads text.

    They are the mean vector of each label's texts, the texts one by one, and the part of the encoder that prompts
    can be trained through.
    """
    if not encoder.has_text:
        return data
    of_labels = zero_shot_texts(task)
    if isinstance(encoder, ClipEncoder):
        for name, texts in zip(task.names, of_labels, strict=True):
            if cut := sum(encoder.are_cut(texts)):
                log.warning(
                    "%d of the texts of the label '%s' are longer than '%s' reads, and are cut there; shorten them, or "
                    "split them into several descriptions",
                    cut,
                    name,
                    encoder.name,
                )
    embedded = [encoder.encode_texts(texts) for texts in of_labels]
    means = np.stack([vectors.mean(axis=0) for vectors in embedded])
    unit = np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)
    labels = np.repeat(np.arange(len(embedded)), [len(vectors) for vectors in embedded])
    tower = encoder.prompt_tower(task.names) if isinstance(encoder, ClipEncoder) else None
    return replace(data, texts=unit, captions=(np.concatenate(embedded), labels), tower=tower)
