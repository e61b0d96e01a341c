"""Agents that answer in words, from their settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from consilience.agents.base import Agent
from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.agents.vlm.transformers_agent import TransformersAgent
from consilience.agents.vlm.vlm_agent import VlmAgent
from consilience.core.errors import SettingsError
from consilience.core.settings.model_settings import ModelSettings, ReasonerSettings, VlmSettings
from consilience.core.settings.settings import RepliesSettings
from consilience.core.storage.cache_folder import cache_folder

Asked = TypeVar("Asked", bound=ModelSettings | ReasonerSettings)


def open_agents(models: Iterable[ModelSettings], cache: ReplyCache | None, budget: Budget) -> list[Agent]:
    """The agents of these settings, which share the cache of their answers and what they may spend."""
    return [_opened(settings, cache, budget) for settings in models]


def _opened(settings: ModelSettings, cache: ReplyCache | None, budget: Budget) -> Agent:
    if isinstance(settings, VlmSettings):
        return VlmAgent(settings, cache, budget)
    return TransformersAgent(settings, cache)


def settings_of(agent: Agent) -> ModelSettings | None:
    """Those that `open_agents` would make the same agent of; None where there are none, as for an agent of your own."""
    settings = getattr(agent, "settings", None)
    return settings if isinstance(settings, ModelSettings) else None


def reached(fitted: Asked, asked: Asked) -> Asked:
    """The settings that an agent or a reasoner was fitted with, reached as `given` says.

    Raises:
        SettingsError: `given` also sets what decides the answers to something else: the trust was earned without.
    """
    who = "the reasoner" if isinstance(fitted, ReasonerSettings) else f"the agent '{fitted.name}'"
    if type(fitted) is not type(asked):
        raise SettingsError(f"{who} is of another kind than the one that the panel was fitted with")
    before, now = fitted.model_dump(mode="json"), asked.model_dump(mode="json")
    if changed := [name for name in before if name not in fitted.REACH and before[name] != now[name]]:
        raise SettingsError(
            f"the settings of {who} differ from those that the panel was fitted with in "
            f"{', '.join(changed)}, and its trust was earned with the latter: take them back, or fit a panel anew"
        )
    return asked


def replies_path(settings: RepliesSettings) -> Path:
    """The file in which models' answers are kept."""
    return settings.path or cache_folder() / "replies.sqlite"


def open_replies(settings: RepliesSettings) -> ReplyCache | None:
    """The models' answers that are kept; None where none are to be. Raises AgentError if the file cannot be used."""
    return ReplyCache(replies_path(settings), settings.max_megabytes * 2**20) if settings.keep else None
