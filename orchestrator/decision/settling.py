"""What settles a first look where a panel is used, and what that does on the labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consilience.core.render.phrases import counted, percent
from consilience.core.settings.decision_settings import DecisionSettings
from consilience.core.settings.settings import PolicySettings
from consilience.orchestrator.decision.calibration_set import MIN_JUDGED_POSTERIOR, CalibrationSet
from consilience.orchestrator.decision.claim import out_of_group
from consilience.orchestrator.decision.conformal import IN_TAIL, LabelSets, images_needed
from consilience.orchestrator.decision.policy import Policy
from consilience.orchestrator.decision.threshold import Threshold, images_for
from consilience.orchestrator.in_use.costs import CostFigures, Costs
from consilience.orchestrator.in_use.frequencies import shares_in_use
from consilience.orchestrator.in_use.worth import Worth

NAMED = 6
"""Labels that are spoken of, at most; `--json` holds all."""


@dataclass(frozen=True)
class LabelPromise:
    """Whether the images of a label are promised to keep it in their prediction sets.

    Attributes:
        is_own: whether they are; if not, only all images together are, on average.
        groups: how many groups of labelled images show the label.
        needed: how many a promise of its own takes; None: no number is enough.
    """

    is_own: bool
    groups: int
    needed: int | None


@dataclass(frozen=True)
class Settles:
    """What the posterior must be for a first look to be settled, and what that does on the labelled images.

    Attributes:
        by: "conformal", "risk_control" or "costs", as it is done, see the top of `policy`; or "agreement"
            (`agreement_policy`), of which nothing is known that labelled images would show.
        threshold: see there; its probability is None where the labelled images support nothing.
        needed: how many groups of images would, at least; None: no number.
        unit: what is counted: "images" or "things".
        costs: what the labelled images cost; None where no costs are set.
        promises: of the prediction sets, by place of the label.
        worths: what it means in use that an image is settled as a label, likewise.
    """

    by: str
    threshold: Threshold
    needed: int | None
    unit: str = "images"
    costs: CostFigures | None = None
    promises: tuple[LabelPromise, ...] = ()
    worths: tuple[Worth, ...] = ()


def in_use(calibration_set: CalibrationSet, decision: DecisionSettings, names: Sequence[str]) -> CalibrationSet:
    """Return a calibration set as it counts in use; frequencies that are to be estimated count as not set.

    Args:
        names: the c labels.

    Raises:
        SettingsError: the frequencies or costs do not fit the labels.
    """
    counts = np.bincount(calibration_set.labels, minlength=len(names)).tolist()
    return calibration_set.in_use(given_shares(decision, names, counts), Costs.of(decision.costs, names))


def given_shares(decision: DecisionSettings, names: Sequence[str], counts: Sequence[int]) -> np.ndarray | None:
    """Return the shares of the labels in use, float (c,), sum 1; None where none are set, or they are to be estimated.

    Args:
        names: the c labels. counts: labelled images of each.

    Raises:
        SettingsError: they do not fit the labels.
    """
    if decision.frequencies is None or isinstance(decision.frequencies, str):
        return None
    return shares_in_use(decision.frequencies, names, counts)


def check_decision(decision: DecisionSettings, names: Sequence[str], counts: Sequence[int]) -> None:
    """Raise SettingsError unless frequencies and costs fit these labels, with so many labelled images each."""
    given_shares(decision, names, counts)
    Costs.of(decision.costs, names)


def settles(settings: PolicySettings, calibration_set: CalibrationSet) -> Settles:
    """Return what settles a first look, by what the labelled images support; they calibrated the sets, too.

    Args:
        calibration_set: as it is in use (`in_use`).
    """
    policy, unit = Policy.chosen(settings, calibration_set), calibration_set.unit
    sets, is_settled = calibration_set.sets(settings.coverage), policy.settled(calibration_set)
    by, needed, probability, costs = "conformal", images_needed(settings.coverage), None, None
    if policy.costs is not None:
        by, needed, probability = "costs", None, 0.0
        top = calibration_set.posterior.argmax(axis=1)
        costs = policy.costs.figures(
            calibration_set.labels, calibration_set.named, top, is_settled, calibration_set.weights
        )
    elif policy.follows_sets:
        probability = MIN_JUDGED_POSTERIOR if sets.excludes else None
    else:
        by, needed = "risk_control", images_for(settings.target, settings.delta)
        probability = policy.threshold.probability
    return Settles(
        by,
        Threshold(probability, *calibration_set.figures(is_settled)),
        needed,
        unit,
        costs,
        promises(sets, settings.coverage),
        calibration_set.worths(out_of_group(calibration_set, settings)[0]),
    )


def settles_by_agreement(settings: PolicySettings) -> Settles:
    """Return what settles an image where trust is estimated from agreement: what that does, no image shows."""
    return Settles("agreement", Threshold(settings.agreed_posterior, np.nan, np.nan), None)


def promises(sets: LabelSets, coverage: float) -> tuple[LabelPromise, ...]:
    """Return for each label what the sets promise."""
    if sets.is_promised is None or sets.groups is None:
        return ()
    needed = images_needed(coverage, IN_TAIL)
    pairs = zip(sets.is_promised.tolist(), sets.groups.tolist(), strict=True)
    return tuple(LabelPromise(is_own, groups, needed) for is_own, groups in pairs)


def promise_words(names: Sequence[str], settles: Settles) -> list[str]:
    """Return which labels have no promise of their own, and what it would take: a sentence for each of the rarest."""
    rest = [(name, promise) for name, promise in zip(names, settles.promises, strict=False) if not promise.is_own]
    rest.sort(key=lambda entry: entry[1].groups)
    words = [
        f"{name}: no promise of its own; {_needed(promise)} {settles.unit} would be needed, it has {promise.groups:,}"
        for name, promise in rest[:NAMED]
    ]
    if more := len(rest) - NAMED:
        words += [f"{more} more labels have no promise of their own"] if more > 0 else []
    return words


def _needed(promise: LabelPromise) -> str:
    return "no number of" if promise.needed is None else f"{promise.needed:,}"


def worth_words(names: Sequence[str], worths: Sequence[Worth]) -> list[str]:
    """Return what labels are worth in use, a sentence each for those of the least worth."""
    settled = [(name, worth, worth.right) for name, worth in zip(names, worths, strict=False)]
    least = sorted((right for _, _, right in settled if right is not None), reverse=True)[-NAMED:]
    return [
        f"At {percent(worth.share)} {name}, {percent(right)} of those settled as {name} are "
        f"({percent(worth.low)} to {percent(worth.high)}, by {counted(worth.settled, 'labelled image')})"
        for name, worth, right in [entry for entry in settled if entry[2] is not None and entry[2] <= least[0]][:NAMED]
        if right is not None
    ]
