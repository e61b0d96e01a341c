"""What the answers of a panel's models to images will take, before the first is paid for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from consilience.agents import Agent, open_replies, settings_of
from consilience.agents.vlm.spending_estimate import SpendingEstimate, is_paid, of_looks, of_reasoner
from consilience.core.errors import ImageError
from consilience.core.images import Image, ImageSource, load_image
from consilience.core.settings.settings import Settings
from consilience.core.settings.vlm_settings import VlmSettings
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.orchestrator.panel.model_addresses import models_of
from consilience.orchestrator.panel.panel import Panel

LOOKED_AT = 50
"""Images of which it is looked up whether answers are kept; the others are taken to be like them."""

Confirm: TypeAlias = Callable[[SpendingEstimate], None]
"""Is told what answers will take, before the first is paid for, if any is; what it raises ends the work."""


def spending_on(
    panel: Path,
    listed: Callable[[], Sequence[ImageSource]],
    settings: Settings,
    agents: Iterable[Agent] = (),
    *,
    each_is_changed: bool = False,
) -> SpendingEstimate:
    """Return about what the models of a panel take to look at images, with second looks at all of them.

    Args:
        panel: the folder.
        listed: gets the images at which they look; only asked where an answer costs something.
        settings, agents: as of `Diagnoser.open`.
        each_is_changed: whether the images are changed before, so that no kept answer is about them.

    Raises:
        PanelError: the panel cannot be read.
    """
    _, held, reasoner = models_of(panel)
    given = [model for model in map(settings_of, agents) if model is not None]
    by_name = {model.name: model for model in (*held, *settings.models, *given)}
    models = [model for model in by_name.values() if isinstance(model, VlmSettings) and is_paid(model)]
    adviser = settings.reasoner or reasoner
    if not (models or (adviser is not None and is_paid(adviser))) or not (images := listed()):
        return SpendingEstimate()
    opened, policy = Panel.open(panel), settings.policy
    rows = np.random.default_rng(settings.seed).permutation(len(images))[:LOOKED_AT]
    seen = [image for row in rows.tolist() if (image := _loaded(images[row], settings)) is not None]
    if not seen:  # whoever diagnoses them says why
        return SpendingEstimate()
    cache, ids = None if each_is_changed else open_replies(settings.replies), [image.identity for image in seen]
    once = {} if policy.second_look != "never" and policy.max_rounds > 1 else {"second_look": False}
    total = SpendingEstimate() if adviser is None else of_reasoner(adviser, REASONER, ids)
    for model in models:
        if model.name in opened.agents:
            total += of_looks(model.model_copy(update=once), opened.task, seen[0], ids, cache, captions=False)
    return total.of_more(len(images) / len(seen))


def _loaded(source: ImageSource, settings: Settings) -> Image | None:
    try:
        return load_image(source, settings.images)
    except ImageError:
        return None
