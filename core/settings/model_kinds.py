"""The kinds of model agents: an entry of `models` in a settings file says which one it is by its `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import Discriminator, Tag

from consilience.core.settings.answers_settings import AnswersSettings
from consilience.core.settings.transformers_settings import TransformersSettings
from consilience.core.settings.vlm_settings import VlmSettings


def _kind(entry: object) -> str | None:
    """Return the kind that an entry, or settings made from one, names; None if it names none."""
    kind = entry.get("kind") if isinstance(entry, Mapping) else getattr(entry, "kind", None)
    return None if kind is None else str(kind)


ModelSettings: TypeAlias = Annotated[
    Annotated[VlmSettings, Tag("endpoint")]
    | Annotated[TransformersSettings, Tag("transformers")]
    | Annotated[AnswersSettings, Tag("answers")],
    Discriminator(_kind),  # not by the field's name: its validators come before the choice
]
"""Settings of an agent that is no head. A new kind is one more class here, and its agent."""
