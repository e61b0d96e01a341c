"""Vision agents: one file a kind, and the protocol that they all follow."""

from __future__ import annotations

from consilience.agents.base import Agent, Captioner, FeatureAgent, LabelledFeatures, Views
from consilience.agents.budget import Budget
from consilience.agents.cache import Cache
from consilience.agents.caps_adapter import CapsAdapter
from consilience.agents.clip_svd import ClipSvd
from consilience.agents.configured import open_agents, open_replies, reached, replies_path, settings_of
from consilience.agents.gaussian import Gaussian
from consilience.agents.neighbours import Neighbours
from consilience.agents.probe import Probe
from consilience.agents.prompt import Prompt
from consilience.agents.reply_cache import ReplyCache
from consilience.agents.self_trained import SelfTrained
from consilience.agents.tip_adapter_f import TipAdapterF
from consilience.agents.transformers_agent import TransformersAgent
from consilience.agents.vlm import VlmAgent
from consilience.agents.zero_shot import ZeroShot
from consilience.errors import AgentError
from consilience.model_settings import TransformersSettings, VlmSettings

FEATURE_AGENTS: dict[str, type[FeatureAgent]] = {
    kind.name: kind
    for kind in (Neighbours, Probe, Gaussian, Cache, ZeroShot, SelfTrained, TipAdapterF, CapsAdapter, Prompt, ClipSvd)
}
"""The agents that a panel can fit on encoder features, by name."""

USUAL_AGENTS = ("neighbours", "probe", "gaussian", "cache", "zero-shot", "self-trained")
"""Those that are fitted unless others are asked for, where there is what they need."""


def feature_agent(name: str) -> type[FeatureAgent]:
    """The kind of agent called `name`. Raises AgentError, which says what exists."""
    if name not in FEATURE_AGENTS:
        raise AgentError(f"there is no agent '{name}'; there are: {', '.join(FEATURE_AGENTS)}")
    return FEATURE_AGENTS[name]


__all__ = [
    "FEATURE_AGENTS",
    "USUAL_AGENTS",
    "Agent",
    "Budget",
    "Cache",
    "CapsAdapter",
    "Captioner",
    "ClipSvd",
    "FeatureAgent",
    "Gaussian",
    "LabelledFeatures",
    "Neighbours",
    "Probe",
    "Prompt",
    "ReplyCache",
    "SelfTrained",
    "TipAdapterF",
    "TransformersAgent",
    "TransformersSettings",
    "Views",
    "VlmAgent",
    "VlmSettings",
    "ZeroShot",
    "feature_agent",
    "open_agents",
    "open_replies",
    "reached",
    "replies_path",
    "settings_of",
]
