"""Answers to how often a panel is right, from the labelled images that it was judged on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consilience.core.render.phrases import one_line, percent
from consilience.frontends.chat.reply import Reply
from consilience.orchestrator.decision.calibration_set import CalibrationSet
from consilience.orchestrator.decision.claim import Claim, accuracy_of_as_many_groups

WIDEST = 0.5
"""Of an interval that says something: where it is wider, too few images are known."""

UNKNOWN = "How often the panel is right is not known: no labelled images show it."


def how_often_right(
    id: str, claim: Claim | None, calibration_set: CalibrationSet, names: Sequence[str], labels: Sequence[str]
) -> Reply:
    """Return how often the panel is right, or how often about some labels.

    Args:
        claim: of the panel; None where nothing is known.
        calibration_set: as it counts in use; its labels are places in `names`.
        labels: that are asked about; none: all together.
    """
    known = [] if claim is None else [(label, names.index(label)) for label in labels if label in names]
    lines = [line for label, place in known for line in _of_label(calibration_set, one_line(label), place)]
    return Reply("\n".join(lines or overall(claim)), diagnosis=id)


def overall(claim: Claim | None) -> list[str]:
    """Return how often the panel is right about all labels together, a sentence each."""
    if claim is None:
        return [UNKNOWN]
    low, high = claim.interval
    things = f"{claim.groups:,} labelled {_unit(claim.groups, claim.groups == claim.images)}"
    if high - low > WIDEST:
        return [f"Only {things} are known: too few to say how often the panel is right."]
    lines = [
        f"Of {things} that it had not learned from, the panel named {percent(claim.accuracy)} rightly; of as many new "
        f"ones like them expect {percent(low)} to {percent(high)}, all labels together."
    ]
    if claim.settled_accuracy is None:
        return [*lines, "It settled none of them without a person."]
    return [
        *lines,
        f"It settled {percent(claim.settled)} without a person; of those {percent(claim.settled_accuracy)} were right.",
    ]


def _of_label(calibration_set: CalibrationSet, label: str, place: int) -> list[str]:
    """Return how many images of a label are named so, and how many that are named so show it."""
    shows, named = calibration_set.labels == place, calibration_set.named == place
    known, found_share = _share(calibration_set, shows, named)
    named_so, right_share = _share(calibration_set, named, shows)
    if not known:
        return [f"No labelled image of {label} could be judged: how often the panel is right about it is not known."]
    things = f"{known} labelled {_unit(known, calibration_set.unit == 'images')} of {label}"
    lines = [
        f"Only {things} {'is' if known == 1 else 'are'} known: too few to say how often the panel finds it."
        if found_share is None
        else f"Of {things} that it had not learned from, it named {found_share[0]} {label} {found_share[1]}."
    ]
    if not named_so:
        return [*lines, f"It named none of the labelled images {label}."]
    unit = _unit(named_so, calibration_set.unit == "images")
    if right_share is None:
        return [*lines, f"It named only {named_so} {unit} {label}: too few to say how often that is right."]
    return [*lines, f"Of {named_so} {unit} that it named {label}, {right_share[0]} were {label} {right_share[1]}."]


def _share(calibration_set: CalibrationSet, rows: np.ndarray, right: np.ndarray) -> tuple[int, tuple[str, str] | None]:
    """Return how many groups have such images, and which share of these is right, with its interval, in words.

    None where there are too few to say.
    """
    groups, weights = calibration_set.groups[rows], calibration_set.weights[rows]
    n = len(np.unique(groups))
    if not n or weights.sum() <= 0.0:
        return 0, None
    low, high = accuracy_of_as_many_groups(right[rows], groups, weights)
    if high - low > WIDEST:
        return n, None
    share = float(np.average(right[rows], weights=weights))
    return n, (percent(share), f"(of as many new ones expect {percent(low)} to {percent(high)})")


def _unit(n: int, is_images: bool) -> str:
    return ("image" if is_images else "thing") + "s" * (n != 1)
