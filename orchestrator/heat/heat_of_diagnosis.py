"""The heat map of a diagnosis, by the open panel that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consilience.agents import Agent, Head
from consilience.agents.base import AgentInput
from consilience.agents.heads.neighbours import K
from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import HeatMapError
from consilience.core.images import Image
from consilience.core.render.diagnosed_image import image_of
from consilience.core.render.heat_map import HeatMap
from consilience.core.render.phrases import source_name
from consilience.core.settings.settings import Settings
from consilience.orchestrator.fitting.ingest import vector_identity
from consilience.orchestrator.heat.class_activation import activation_heat
from consilience.orchestrator.heat.compared_labels import ComparedLabels, check_known
from consilience.orchestrator.heat.occlusion import occluded, occlusion_heat
from consilience.orchestrator.panel.panel import Panel
from consilience.retrieval.encoders.encoder import Encoder, Sight
from consilience.retrieval.memory.image_memory import ImageMemory


def exact_heat(
    panel: Panel,
    agents: Mapping[str, Agent],
    encoder: Encoder,
    diagnosis: Diagnosis,
    label: str | None,
    other: str | None,
) -> HeatMap:
    """Return the heat map by class activation; see `Diagnoser.heat`.

    How much the image speaks for the labels follows from the vector of the diagnosis, where it is known; only where it
    does so from the image as it is there now, which may be a smaller copy.
    """
    compared, image = ComparedLabels.of(diagnosis, label, other), _image(panel, encoder, diagnosis)
    seen = diagnosis.embedding
    sight = encoder.see(image) if seen is None else Sight(seen.vector[None], seen.maps or encoder.see(image).maps)
    heads = [agent for agent in agents.values() if isinstance(agent, Head)]
    size = image.height, image.width
    heat = activation_heat(compared, heads, panel.members, sight, panel.encoder.eyes, size)
    return replace(heat, image=image)


async def heat_by_occlusion(
    panel: Panel,
    agents: Mapping[str, Agent],
    encoder: Encoder,
    memory: ImageMemory,
    settings: Settings,
    diagnosis: Diagnosis,
    label: str | None,
    other: str | None,
    chosen: Sequence[str],
) -> HeatMap:
    """Return the heat map by occlusion; see `Diagnoser.occlusion_heat`."""
    check_known(chosen, [*agents])
    compared, image = ComparedLabels.of(diagnosis, label, other), _image(panel, encoder, diagnosis)
    asked = {name: agent for name, agent in agents.items() if (name in chosen if chosen else isinstance(agent, Head))}
    images = [*occluded(image)]
    vectors = encoder.encode(images)
    near = memory.query(vectors, max(K, settings.memory.neighbours))
    inputs = AgentInput(panel.task, images, vectors, near.labels, near.similarities)
    size, timeout = (image.height, image.width), settings.policy.agent_timeout_seconds
    heat = await occlusion_heat(compared, asked, panel.members, inputs, size, timeout)
    return replace(heat, image=image)


def _image(panel: Panel, encoder: Encoder, diagnosis: Diagnosis) -> Image:
    """Return the image to look at; raises HeatMapError where there is none, or not for this panel as it is now."""
    seen = diagnosis.embedding
    name = source_name(diagnosis.source)  # front ends tell it to people who may not know the server's folders
    if panel.of_answers or (seen is not None and diagnosis.identity == vector_identity(seen.vector)):
        known = "answers alone are" if panel.of_answers else "vector alone is"
        raise HeatMapError(f"a heat map needs the image, and of '{name}' the {known} known")
    if seen is not None and seen.encoder != encoder.fingerprint:
        raise HeatMapError(f"the diagnosis of '{name}' is of another panel: diagnose the image with this one")
    if tuple(diagnosis.posterior) != panel.task.names:
        raise HeatMapError(
            "the panel has other labels by now than when it made this diagnosis: diagnose the image anew"
        )
    return image_of(diagnosis)
