"""A first pass over images without labels: how often each label occurs there (`decision.frequencies: estimate`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consilience.agents import Agent
from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import SettingsError
from consilience.core.images import ImageSource
from consilience.core.settings.settings import Settings
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.in_use.frequencies import FrequencyEstimate, estimate
from consilience.retrieval.encoders.encoder import Encoder

SAMPLED = 1000
"""Images that an estimate rests on, at most: a share of 5 % is then known to 1.4 points."""


def with_estimated_frequencies(
    panel: str | Path,
    settings: Settings,
    images: Sequence[ImageSource] | np.ndarray,
    *,
    agents: Sequence[Agent] = (),
    encoder: Encoder | None = None,
) -> tuple[Settings, FrequencyEstimate | None]:
    """Return settings for these images: where frequencies are to be estimated, with what the images say of them.

    Agents look once at SAMPLED of the images, drawn at random (`settings.seed`). Models' answers are kept, so that none
    is paid for twice. The labels' own mix stays where it is not unlikely.

    Args:
        panel: the folder.
        images: all that will be diagnosed; or their vectors, float32 (n, d).
        agents, encoder: see `Diagnoser.open`.

    Returns:
        The settings, and the estimate; None where nothing is to be estimated.

    Raises:
        SettingsError: the panel was fitted on answers.
        Whatever `Diagnoser.open` and `diagnose_many` raise.
    """
    if settings.decision.frequencies != "estimate":
        return settings, None
    once = settings.policy.model_copy(update={"second_look": "never", "max_rounds": 1})
    rows = np.sort(np.random.default_rng(settings.seed).permutation(len(images))[:SAMPLED])
    first = settings.model_copy(update={"policy": once})
    with Diagnoser.open(panel, settings=first, agents=agents, encoder=encoder) as diagnoser:
        if diagnoser.panel.of_answers:
            raise SettingsError("frequencies are estimated from images, and here are answers alone: state them")
        if isinstance(images, np.ndarray):
            results = diagnoser.diagnose_vectors(images[rows], [str(row) for row in rows])
        else:
            results = diagnoser.diagnose_many(images[row] for row in rows)
        shares = estimate_from(diagnoser, list(results), settings.seed)
    decision = settings.decision.model_copy(update={"frequencies": shares.frequencies})
    return settings.model_copy(update={"decision": decision}), shares


def estimate_from(diagnoser: Diagnoser, results: Sequence[Diagnosis | FailedImage], seed: int = 0) -> FrequencyEstimate:
    """Return how often each label seems to occur among images that were diagnosed, as if in the labels' own mix."""
    known, names = diagnoser.panel.calibration_set, diagnoser.panel.task.names
    posterior = [[*result.posterior.values()] for result in results if isinstance(result, Diagnosis)]
    return estimate(
        names, np.array(posterior).reshape(-1, len(names)), known.posterior, known.labels, known.groups, seed
    )
