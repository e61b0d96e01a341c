"""What a panel cannot know because it was fitted on too few labelled images, or none, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from consilience.agents.heads.model_selection import FEW_IMAGES
from consilience.core.render.phrases import counted
from consilience.orchestrator.decision.settling import Settles, promise_words
from consilience.orchestrator.ensemble.agreement import Agreement
from consilience.orchestrator.ensemble.members import LEFT_OUT
from consilience.orchestrator.ensemble.scaling import IMAGES_FOR_MORE_PARAMETERS
from consilience.orchestrator.panel.panel import Panel

RARE = 5
"""A label is rare if the one in the middle has this many times its images."""


def fit_warnings(panel: Panel) -> tuple[str, ...]:
    """Return one sentence for each thing that the panel cannot know; none if it has enough labelled images."""
    warnings = [
        f"'{choice.agent}' is no part of the panel, {choice.reason}."
        for choice in panel.choices
        if choice.reason.startswith(LEFT_OUT)
    ]
    if panel.agreement is not None:
        return (*warnings, *_agreement_warnings(panel.agreement, len(panel.members)))
    counts = {name: panel.labelled_images.labels.count(name) for name in panel.task.names}
    usual, total = median(counts.values()), sum(counts.values())
    judged = max((member.trust.n for member in panel.members), default=0)
    if not judged:
        warnings.append(
            "With one image of each label the agents cannot be tested: how accurate they are is not known, and every "
            "image is referred to a person. 2 images of each label give a first figure; 20 make it useful."
        )
    elif single := [name for name, count in counts.items() if count == 1]:
        warnings.append(
            f"Only one image shows {_listed(single)}: the panel learns from it, but cannot test how well it knows the "
            "label. Add at least one more."
        )
    if 0 < judged < IMAGES_FOR_MORE_PARAMETERS:
        warnings.append(
            f"Only {judged} images test the agents: their confidence is corrected in the simplest way (one "
            f"temperature, near the usual one). From {IMAGES_FOR_MORE_PARAMETERS} images on, the best way is chosen."
        )
    if panel.heads and total < FEW_IMAGES * len(counts):
        warnings.append(
            f"There are few labelled images ({total / len(counts):.3g} of each label, on average): the agents keep "
            f"their usual settings. From {FEW_IMAGES} of each label on, settings are chosen by cross-validation."
            + (" Images without labels help, too: --unlabelled FOLDER." if panel.unlabelled is None else "")
        )
    if rare := [name for name, count in counts.items() if 1 < count <= usual / RARE]:
        fewest = min(counts[name] for name in rare)
        warnings.append(
            f"{_listed(rare)} has far fewer images than the other labels ({fewest} against about {usual:g}): figures "
            "over all labels say little about it. Add images of it."
        )
    return tuple(warnings)


def _agreement_warnings(agreement: Agreement, agents: int) -> list[str]:
    beyond = f"{agreement.alpha:.2f} on a scale from 0, chance, to 1, all the same; at least {agreement.low:.2f}"
    warnings = [
        f"Trust is estimated from how far {agents} agents agree on {counted(agreement.images)}, and not measured: "
        "nothing is promised. Agents that err together, such as models of one family or people who heard each other, "
        "look right here, and all figures too good. Measure it on images whose truth is known: consilience evaluate.",
        f"The agents agree too little to tell what they are worth ({beyond}): every image is referred to a person. "
        "More images, more agents, or the truth of some images would tell."
        if agreement.is_too_low
        else f"How far they agree: {beyond}.",
    ]
    if agents == 2:
        warnings.append("Two agents cannot show which of them is right where they differ; a third one would.")
    return warnings


def promise_warnings(names: Sequence[str], settles: Settles) -> tuple[str, ...]:
    """Return a sentence for each label that prediction sets promise nothing of, where they do of another."""
    if not any(promise.is_own for promise in settles.promises):
        return ()
    return tuple(f"{sentence}." for sentence in promise_words(names, settles))


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
