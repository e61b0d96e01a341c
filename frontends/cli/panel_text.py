"""What a panel holds: as plain data for --json, and in tables and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from consilience.core.prediction import look_name
from consilience.core.render.phrases import one_line, percent
from consilience.core.settings.model_settings import VlmSettings
from consilience.core.settings.settings import PolicySettings
from consilience.frontends.cli.terminal import table
from consilience.orchestrator.decision.policy import settles
from consilience.orchestrator.fitting.fit_warnings import fit_warnings
from consilience.orchestrator.panel.panel import Panel


def shares_of_weight(panel: Panel) -> list[float]:
    """Each member's share of the weight where all agents answer, [0, 1].

    First looks are weighed among themselves; a second look stands in its agent's first look's place.
    """
    uniform = np.full((len(panel.members), 1, len(panel.task.names)), 1.0 / len(panel.task.names))
    twice = {one.agent for one in panel.members if one.stage == "second"}
    shares = np.zeros(len(panel.members))
    for stage in ("second", "first"):
        speaks = [one.stage == stage or (stage == "second" and one.agent not in twice) for one in panel.members]
        if any(speaks):
            heard = np.where(np.array(speaks)[:, None, None], uniform, np.nan)
            weights = panel.fusion.posterior(heard)[1][0]
            shares = np.where(speaks, weights / max(weights.sum(), np.finfo(float).tiny), shares)
    return [float(share) for share in shares]


def facts(panel: Panel, policy: PolicySettings) -> dict[str, Any]:
    """What there is to know of a panel, for JSON."""
    counts = {label: panel.labelled_images.labels.count(label) for label in panel.task.names}
    found = settles(policy, panel.calibration_set)
    return {
        "panel": str(panel.path),
        "domain": panel.task.domain,
        "labels": counts,
        "unlabelled": 0 if panel.unlabelled is None else len(panel.unlabelled),
        "encoder": {
            "name": panel.encoder.name,
            "dimension": panel.encoder.dimension,
            "fingerprint": panel.encoder.fingerprint,
        },
        "models": [
            {
                "agent": one.name,
                "model": one.model,
                "at": one.base_url if isinstance(one, VlmSettings) else one.device,
                "confidence": one.confidence,
            }
            for one in panel.models
        ],
        "agents": [
            {**one.trust.to_dict(), "calibrator": one.calibrator.kind, "share_of_weight": share}
            for one, share in zip(panel.members, shares_of_weight(panel), strict=True)
        ],
        "policy": {
            "settle": found.by,
            "coverage": policy.coverage,
            "target": policy.target,
            "delta": policy.delta,
            "threshold": found.threshold.probability,
            "settled": found.threshold.settled,
            "accuracy_of_settled": found.threshold.accuracy,
            "images_needed": found.needed,
        },
        "choices": [asdict(choice) for choice in panel.choices],
        "warnings": list(fit_warnings(panel)),
    }


def trust_table(agents: list[Mapping[str, Any]]) -> Table:
    """The trust that each agent has earned, from `facts`."""
    table = figures_table("Agent", "Images", "Accuracy", "ECE", "OCR", "CCC", "Brier", "Calibrator", "Share of weight")
    for one in agents:
        table.add_row(
            one_line(look_name(one["agent"], one["stage"])),
            f"{one['n']:,}",
            "–" if one["accuracy"] is None else percent(one["accuracy"]),
            *([f"{one['ece']:.3f}", f"{one['ocr']:.3f}", f"{one['ccc']:.2f}"] if one["n"] else ["–"] * 3),
            "–" if one["brier"] is None else f"{one['brier']:.3f}",
            one["calibrator"],
            percent(one["share_of_weight"]),
        )
    return table


def figures_table(first: str, *others: str) -> Table:
    """A table with text in the first column and figures in the others."""
    made = table(first)
    made.columns[0].min_width = 10
    for name in others:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def threshold_words(policy: Mapping[str, Any]) -> str:
    """What settles a diagnosis, and what that does on the labelled images, in a sentence."""
    by_set, needed = policy["settle"] == "conformal", policy["images_needed"]
    wish = f"{percent(policy['coverage'])} coverage" if by_set else f"{percent(policy['target'])} accuracy"
    setting = "policy.coverage" if by_set else "policy.target"
    if policy["threshold"] is None:
        wanted = "no number of images is enough" if needed is None else f"it takes {needed:,} images at the least"
        return (
            f"The labelled images cannot support {wish}: every image will be referred; {wanted}. "
            f"Give more images, or lower {setting}."
        )
    does = (
        f"{percent(policy['settled'])} of the labelled images, {percent(policy['accuracy_of_settled'])} of those right"
    )
    if by_set:
        return f"Settles {does}: one label left at {wish}, with a posterior of at least {policy['threshold']:.3f}."
    return (
        f"Settles {does}: a posterior of at least {policy['threshold']:.3f} (promised: {wish} or more, but for a "
        f"chance of {percent(policy['delta'])})."
    )


def choice_words(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why each agent was kept or dropped, one line each, below an empty one; nothing where none was chosen."""
    return ["", *(f"{one_line(one['agent'])} {one_line(one['reason'])}" for one in choices)] if choices else []
