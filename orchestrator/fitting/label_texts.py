"""Embedded texts of the labels, which some heads are fitted on."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from consilience.agents import LabelledFeatures
from consilience.agents.base import LabelTexts
from consilience.core.task import Task
from consilience.prompts import zero_shot_texts
from consilience.retrieval.encoders.encoder import Encoder
from consilience.retrieval.encoders.open_clip_encoder import ClipEncoder

log = logging.getLogger(__name__)


def with_texts(data: LabelledFeatures, encoder: Encoder, task: Task) -> LabelledFeatures:
    """Return the data with embedded texts of the labels, of each encoder that reads text."""
    if not encoder.eyes:
        return replace(data, **vars(_texts(encoder, task))) if encoder.has_text else data
    return replace(data, texts_of={eye: _texts(reader, task) for eye, reader in readers(encoder).items()})


def readers(encoder: Encoder) -> dict[str, Encoder]:
    """Return the encoders with a text tower, of those that look side by side, by the name of their eye."""
    parts = zip(encoder.eyes, encoder.encoders, strict=True)
    return {eye.name: part for eye, part in parts if part.has_text}


def _texts(encoder: Encoder, task: Task) -> LabelTexts:
    """Return the mean vector of each label's texts, the texts one by one, and what prompts can be trained through."""
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
    return LabelTexts(unit, (np.concatenate(embedded), labels), tower=tower)
