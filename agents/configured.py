"""Opens agents that are no heads, and the cache of their replies, from settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol, Self, TypeVar

from consilience.agents.base import Agent
from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.endpoint.accepted_options import with_found
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.core.errors import SettingsError
from consilience.core.settings.answers_settings import AnswersSettings
from consilience.core.settings.model_kinds import ModelSettings
from consilience.core.settings.model_settings import LookSettings, ReasonerSettings
from consilience.core.settings.settings import RepliesSettings
from consilience.core.settings.vlm_settings import VlmSettings
from consilience.core.storage.user_folders import cache_folder

AskedSettings = TypeVar("AskedSettings", bound=LookSettings | AnswersSettings | ReasonerSettings)


class ModelAgent(Agent, Protocol):
    """An agent made from its settings, whose `AGENT` names it."""

    @classmethod
    def open(cls, settings: Any, cache: ReplyCache | None, budget: Budget) -> Self:
        """Make the agent.

        Args:
            settings: of the agent's own kind.
            cache: where its answers are kept; None: nowhere.
            budget: what it and the agents that share it may spend.
        """


def open_agents(models: Iterable[ModelSettings], cache: ReplyCache | None, budget: Budget) -> list[Agent]:
    """Return an agent for each of these settings; they share the reply cache and the budget."""
    kinds: Iterator[tuple[type[ModelAgent], ModelSettings]] = ((resolve_name(model.AGENT), model) for model in models)
    return [kind.open(settings, cache, budget) for kind, settings in kinds]


def settings_of(agent: Agent) -> ModelSettings | None:
    """Return the settings of which `open_agents` makes the same agent; None for an agent that has none.

    What was found out of its endpoint meanwhile is in them.
    """
    settings: ModelSettings | None = getattr(agent, "settings", None)
    if isinstance(settings, VlmSettings):
        return with_found(settings)
    return settings if isinstance(settings, LookSettings | AnswersSettings) else None


def reached(fitted: AskedSettings, supplied: AskedSettings) -> AskedSettings:
    """Return `supplied`, if it differs from `fitted` only in how the model is reached (`REACH`: address, ...).

    Args:
        fitted: the settings that an agent or a reasoner was fitted with.
        supplied: the settings that it is to be used with.

    Raises:
        SettingsError: `supplied` changes what decides the answers, so that the trust earned with `fitted` says nothing.
    """
    who = "the reasoner" if isinstance(fitted, ReasonerSettings) else f"the agent '{fitted.name}'"
    if type(fitted) is not type(supplied):
        raise SettingsError(f"{who} is of another kind than the one that the panel was fitted with")
    before, now = fitted.model_dump(mode="json"), supplied.model_dump(mode="json")
    if changed := [name for name in before if name not in fitted.REACH and before[name] != now[name]]:
        raise SettingsError(
            f"the settings of {who} differ from those that the panel was fitted with in "
            f"{', '.join(changed)}, and its trust was earned with the latter: take them back, or fit a panel anew"
        )
    return supplied


def replies_path(settings: RepliesSettings) -> Path:
    """Return the file that keeps models' replies: the one in the settings, or one in the cache folder."""
    return settings.path or cache_folder() / "replies.sqlite"


def open_replies(settings: RepliesSettings) -> ReplyCache | None:
    """Return the cache of models' replies; None where the settings say that none are kept.

    Raises:
        AgentError: the file cannot be used.
    """
    return ReplyCache(replies_path(settings), settings.max_megabytes * 2**20) if settings.keep else None
