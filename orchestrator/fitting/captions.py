"""Captions of the labelled images, which a vision-language agent writes: they support the head `CapsAdapter`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from consilience.agents import Agent, AgentInput, CapsAdapter, Captioner, LabelledFeatures, kind_of_head
from consilience.core.errors import AgentError, SettingsError
from consilience.orchestrator.fitting.collect import BATCH
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.label_texts import readers
from consilience.orchestrator.runtime.calls import caption
from consilience.prompts import load_prompt, zero_shot_texts
from consilience.retrieval.encoders.encoder import Encoder

log = logging.getLogger(__name__)


def captioner_among(agents: Sequence[Agent], name: str | None, kinds: Sequence[str] | None) -> Captioner | None:
    """Return the agent called `name`, which is to describe the labelled images; None if `name` is None.

    Args:
        agents: those that need no fitting.
        kinds: names of the heads that are fitted; None: not chosen yet.

    Raises:
        SettingsError: there is no such agent, it cannot describe images, or no head reads captions.
    """
    if name is None:
        return None
    if kinds is not None and not any(kind_of_head(name) is CapsAdapter for name in kinds):
        raise SettingsError(
            f"'{name}' would describe images, but no agent reads captions: add '{CapsAdapter.name}' to the agents"
        )
    captioner = next((agent for agent in agents if agent.name == name), None)
    if not isinstance(captioner, Captioner):
        known = ", ".join(agent.name for agent in agents if isinstance(agent, Captioner)) or "none"
        raise SettingsError(f"no agent called '{name}' can describe images; those that can: {known}")
    return captioner


async def with_captions(context: FitContext, agent: Captioner, encoder: Encoder) -> LabelledFeatures:
    """Return the context's data with an embedded caption of each image, written by a vision-language agent.

    A caption that the agent fails to write is a row of zeros.

    Args:
        context: its images can be loaded.
        encoder: embeds the captions with its text tower; of several the first that has one.

    Raises:
        AgentError: the agent failed on every image of the first batch. BudgetSpentError: it may spend no more.
    """
    task, labelled_images, data, load = context.task, context.labelled_images, context.data, context.load
    if load is None:
        return data
    prompt, of_labels = load_prompt("caption", task), zero_shot_texts(task)
    eye, reader = next(iter(readers(encoder).items())) if encoder.eyes else ("", encoder)
    vectors, failed = np.zeros((len(data.features), reader.dimension), np.float32), 0
    for start in range(0, len(labelled_images), BATCH):
        rows = range(start, min(start + BATCH, len(labelled_images)))
        nowhere = np.empty((len(rows), 0), np.float32)
        images = [load(labelled_images.sources[row]) for row in rows]
        predictions = await caption(
            agent, AgentInput(task, images, data.features[rows], nowhere.astype(int), nowhere), context.timeout_seconds
        )
        if start == 0 and all(p.error is not None for p in predictions):  # it will not do better on the others
            raise AgentError(f"the agent '{agent.name}' described none of the first images: {predictions[0].error}")
        failed += sum(p.error is not None for p in predictions)
        texts = {
            row: prompt.render("labelled", beginning=of_labels[data.labels[row]][0], said=prediction.rationale)
            for row, prediction in zip(rows, predictions, strict=True)
            if prediction.rationale
        }
        vectors[list(texts)] = reader.encode_texts([*texts.values()])
        context.progress("describing labelled images", rows.stop, len(labelled_images))
    if failed:
        log.warning("the agent '%s' could not describe %d of %d images", agent.name, failed, len(labelled_images))
    if not encoder.eyes:
        return replace(data, described=vectors)
    return replace(data, texts_of={**data.texts_of, eye: replace(data.texts_of[eye], described=vectors)})
