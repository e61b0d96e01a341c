"""What a panel cannot know, because it was fitted on too few labelled images: said openly, with how many it takes."""

from __future__ import annotations

from statistics import median

from consilience.agents.heads.model_selection import FEW_IMAGES
from consilience.orchestrator.ensemble.calibration import IMAGES_FOR_MORE_PARAMETERS
from consilience.orchestrator.panel.panel import Panel

RARE = 5
"""A label is rare if the one in the middle has this many times its images."""


def fit_warnings(panel: Panel) -> tuple[str, ...]:
    """One sentence each; none where there are enough images."""
    counts = {name: panel.labelled_images.labels.count(name) for name in panel.task.names}
    usual, total, warnings = median(counts.values()), sum(counts.values()), []
    judged = max((member.trust.n for member in panel.members), default=0)
    if not judged:
        warnings.append(
            "With one image a label nothing is left to judge the agents by: their accuracy and calibration are not "
            "known, they are weighed by prior belief, and every image is referred. 2 images a label give a first "
            "figure, 20 are of use."
        )
    elif single := [name for name, count in counts.items() if count == 1]:
        warnings.append(
            f"{_listed(single)} has a single image: it is learned from, but no figure tells how well it is known. "
            "Give at least 2."
        )
    if 0 < judged < IMAGES_FOR_MORE_PARAMETERS:
        warnings.append(
            f"{judged} judged images are too few to choose a calibrator: only a temperature was fitted, near what is "
            f"believed beforehand. From {IMAGES_FOR_MORE_PARAMETERS} on there is a choice."
        )
    if total < FEW_IMAGES * len(counts):
        warnings.append(
            f"The labelled images are few ({total / len(counts):.3g} a label): the heads take their usual settings. "
            f"{FEW_IMAGES} a label, on average, are enough to choose them by cross-validation."
            + (
                " Other images help, too, though nobody knows their labels: --unlabelled."
                if panel.unlabelled is None
                else ""
            )
        )
    if rare := [name for name, count in counts.items() if 1 < count <= usual / RARE]:
        warnings.append(
            f"{_listed(rare)} has far fewer images than the others ({min(counts[name] for name in rare)} against about "
            f"{usual:g}): figures over all labels say little about it."
        )
    return tuple(warnings)


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
