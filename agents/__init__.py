"""Vision agents: the protocol that all follow, heads on encoder features, and vision-language models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consilience.agents.answers_beside import AnswersBeside, answers_fingerprint, with_answers
from consilience.agents.base import Agent, AgentInput, Captioner, FeatureAgent, Head, LabelledFeatures
from consilience.agents.configured import open_agents, open_replies, reached, replies_path, settings_of
from consilience.agents.heads.caps_adapter import CapsAdapter
from consilience.agents.heads.clip_svd import ClipSvd
from consilience.agents.heads.coop import CoOp
from consilience.agents.heads.gaussian import Gaussian
from consilience.agents.heads.neighbours import Neighbours
from consilience.agents.heads.on_eye import AT, HeadOnEye, unlabelled_of
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
from consilience.retrieval.encoders.eye import Eye

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


def kind_of_head(agent: str) -> type[FeatureAgent] | None:
    """Return the class of the head called so, 'probe' or 'probe@lite2'; None if it is the name of another agent."""
    return FEATURE_AGENTS.get(agent.partition(AT)[0])


def feature_agent(name: str) -> type[FeatureAgent] | HeadOnEye:
    """Return what fits the head called `name`, such as 'probe', or 'probe@lite2' where there are several eyes.

    Raises:
        AgentError: there is no such agent; the message lists those that there are.
    """
    kind, eye = kind_of_head(name), name.partition(AT)[2]
    if kind is None:
        raise AgentError(f"there is no agent '{name}'; there are: {', '.join(FEATURE_AGENTS)}")
    if eye and kind.needs_neighbours:
        raise AgentError(f"'{kind.name}' asks the image memory, which all eyes share: leave out '{AT}{eye}'")
    return HeadOnEye(kind, eye) if eye else kind


def on_each_eye(names: Iterable[str], eyes: Sequence[Eye]) -> list[str]:
    """Return the names of heads for these eyes: one for each eye where a name says nothing of one.

    A head that reads the memory stays as it is. Nothing changes where there is one eye (`eyes` is empty).
    """
    heads = list[str]()
    for name in names:
        kind = kind_of_head(name)
        is_whole = not eyes or AT in name or kind is None or kind.needs_neighbours
        heads += [name] if is_whole else [f"{name}{AT}{eye.name}" for eye in eyes]
    return heads


__all__ = [
    "FEATURE_AGENTS",
    "USUAL_AGENTS",
    "Agent",
    "AgentInput",
    "AnswersBeside",
    "Budget",
    "CapsAdapter",
    "Captioner",
    "ClipSvd",
    "CoOp",
    "FeatureAgent",
    "Gaussian",
    "Head",
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
    "answers_fingerprint",
    "feature_agent",
    "kind_of_head",
    "on_each_eye",
    "open_agents",
    "open_replies",
    "reached",
    "replies_path",
    "settings_of",
    "unlabelled_of",
    "with_answers",
]
