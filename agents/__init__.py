"""Vision agents: the protocol that all follow, heads on encoder features, and vision-language models."""

from __future__ import annotations

from consilience.agents.base import Agent, AgentInput, Captioner, FeatureAgent, LabelledFeatures
from consilience.agents.configured import open_agents, open_replies, reached, replies_path, settings_of
from consilience.agents.heads.caps_adapter import CapsAdapter
from consilience.agents.heads.clip_svd import ClipSvd
from consilience.agents.heads.coop import CoOp
from consilience.agents.heads.gaussian import Gaussian
from consilience.agents.heads.neighbours import Neighbours
from consilience.agents.heads.probe import Probe
from consilience.agents.heads.self_trained import SelfTrained
from consilience.agents.heads.tip_adapter import TipAdapter
from consilience.agents.heads.tip_adapter_f import TipAdapterF
from consilience.agents.heads.zero_shot import ZeroShot
from consilience.agents.vlm.budget import Budget
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.agents.vlm.transformers_agent import TransformersAgent
from consilience.agents.vlm.vlm_agent import VlmAgent
from consilience.core.errors import AgentError
from consilience.core.settings.transformers_settings import TransformersSettings
from consilience.core.settings.vlm_settings import VlmSettings

FEATURE_AGENTS: dict[str, type[FeatureAgent]] = {
    kind.name: kind
    for kind in (
        Neighbours,
        Probe,
        Gaussian,
        TipAdapter,
        ZeroShot,
        SelfTrained,
        TipAdapterF,
        CapsAdapter,
        CoOp,
        ClipSvd,
    )
}
"""The agents that a panel can fit on encoder features, by name."""

USUAL_AGENTS = ("neighbours", "probe", "gaussian", "tip-adapter", "zero-shot", "self-trained")
"""The agents that a panel fits by default; one that lacks what it needs (texts, unlabelled images) is left out."""


def feature_agent(name: str) -> type[FeatureAgent]:
    """Return the class of the agent called `name`, such as 'probe'.

    Raises:
        AgentError: there is no such agent; the message lists those that there are.
    """
    if name not in FEATURE_AGENTS:
        raise AgentError(f"there is no agent '{name}'; there are: {', '.join(FEATURE_AGENTS)}")
    return FEATURE_AGENTS[name]


__all__ = [
    "FEATURE_AGENTS",
    "USUAL_AGENTS",
    "Agent",
    "AgentInput",
    "Budget",
    "CapsAdapter",
    "Captioner",
    "ClipSvd",
    "CoOp",
    "FeatureAgent",
    "Gaussian",
    "LabelledFeatures",
    "Neighbours",
    "Probe",
    "ReplyCache",
    "SelfTrained",
    "TipAdapter",
    "TipAdapterF",
    "TransformersAgent",
    "TransformersSettings",
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
