"""What a panel holds: as plain data for --json, and in tables and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from consilience.core.prediction import look_name
from consilience.core.render.phrases import counted, one_line, percent
from consilience.core.render.tables import accuracy_words
from consilience.core.settings.decision_settings import AS_LABELLED, DecisionSettings
from consilience.core.settings.settings import PolicySettings
from consilience.frontends.cli.terminal import table
from consilience.orchestrator.decision.settling import worth_words
from consilience.orchestrator.ensemble.contributions import Contribution
from consilience.orchestrator.fitting.fit_warnings import fit_warnings, promise_warnings
from consilience.orchestrator.in_use.worth import Worth
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.shift.shift_words import source_sentence

NO_WEIGHT = 0.01
"""Share of the weight below which an agent is said to have none."""

SOONER = 0.01
"""Seconds an image that are worth saying."""

WORTH_SAYING = 0.01
"""By how much a split image by image must look better than it is, before it is spoken of."""


def shares_of_weight(panel: Panel) -> list[float]:
    """Return each member's share of the weight where all agents answer, [0, 1].

    First looks are weighed among themselves; a second look stands in its agent's first look's place.
    """
    uniform = np.full((len(panel.members), 1, len(panel.task.names)), 1.0 / len(panel.task.names))
    twice = {member.agent for member in panel.members if member.stage == "second"}
    shares = np.zeros(len(panel.members))
    for stage in ("second", "first"):
        speaks = [
            member.stage == stage or (stage == "second" and member.agent not in twice) for member in panel.members
        ]
        if any(speaks):
            answers = np.where(np.array(speaks)[:, None, None], uniform, np.nan)
            weights = panel.fusion.posterior(answers)[1][0]
            shares = np.where(speaks, weights / max(weights.sum(), np.finfo(float).tiny), shares)
    return [float(share) for share in shares]


def facts(panel: Panel, policy: PolicySettings, decision: DecisionSettings = AS_LABELLED) -> dict[str, Any]:
    """Return what there is to know of a panel, as plain data for JSON.

    Args:
        policy: the settings that decide which images are settled.
        decision: how often labels occur where it is used, and what mistakes cost.

    Raises:
        SettingsError: `decision` does not fit the panel's labels.
    """
    names = panel.task.names
    counts = {label: panel.labelled_images.labels.count(label) for label in names}
    rule = panel.settles(policy, decision)
    claim = panel.claim(policy, decision)
    return {
        "panel": str(panel.path),
        "domain": panel.task.domain,
        "labels": counts,
        "unlabelled": 0 if panel.unlabelled is None else len(panel.unlabelled),
        "unknown": 0 if panel.unknown is None else len(panel.unknown),
        "encoder": None
        if panel.of_answers
        else {
            "name": panel.encoder.name,
            "dimension": panel.encoder.dimension,
            "fingerprint": panel.encoder.fingerprint,
        },
        "models": [
            {
                "agent": model.name,
                "model": getattr(model, "model", None),
                "at": model.place,
                "key_variable": getattr(model, "key_variable", None),
                "confidence": getattr(model, "confidence", None),
                "pictures_a_request": getattr(model, "pictures_a_request", None),
            }
            for model in panel.models
        ],
        "reasoner": None
        if (reasoner := panel.reasoner) is None
        else {
            "role": reasoner.role,
            "model": reasoner.model,
            "at": reasoner.base_url,
            "key_variable": reasoner.key_variable,
        },
        "agents": [
            {**member.trust.to_dict(), "calibrator": member.calibrator.kind, "share_of_weight": share}
            for member, share in zip(panel.members, shares_of_weight(panel), strict=True)
        ],
        "policy": {
            "settle": rule.by,
            "coverage": policy.coverage,
            "target": policy.target,
            "delta": policy.delta,
            "threshold": rule.threshold.probability,
            "images_needed": rule.needed,
            "unit": rule.unit,
            "costs": None if rule.costs is None else asdict(rule.costs),
            "promises": dict(zip(names, map(asdict, rule.promises), strict=False)),
            "worth": dict(zip(names, map(asdict, rule.worths), strict=False)),
        },
        "trust_from": "labelled images" if panel.agreement is None else "agreement",
        "agreement": None if panel.agreement is None else panel.agreement.to_dict(),
        "grouping": grouping_facts(panel),
        "claim": None if claim is None else claim.to_dict(),
        "contributions": [contribution.to_dict() for contribution in panel.contributions],
        "choices": [asdict(choice) for choice in panel.choices],
        "warnings": [*fit_warnings(panel), *promise_warnings(names, rule), *in_use_warnings(decision)],
    }


def grouping_facts(panel: Panel) -> dict[str, Any]:
    """Return where a panel's groups come from, and how many there are, as plain data for JSON."""
    sizes = Counter(panel.labelled_images.groups)
    several = sum(size > 1 for size in sizes.values())
    return {**panel.grouping.to_dict(), "groups": len(sizes), "of_several_images": several}


def grouping_words(grouping: Mapping[str, Any], panel: str) -> list[str]:
    """Return in plain words how many groups of several images there are, and how to check them; none without any.

    Args:
        grouping: what `grouping_facts` returned.
        panel: the panel's folder, as it is to be written in a command.
    """
    if not grouping["of_several_images"]:
        return []
    several = f"{grouping['of_several_images']:,} of them have several images"
    check = f"see them with: consilience show {panel} --groups groups.html"
    return [f"Groups ({grouping['how']}): {grouping['groups']:,}; {several}; {check}"]


def trust_table(agents: list[Mapping[str, Any]]) -> Table:
    """Return a table of the trust that each agent has earned; `agents` is "agents" in `facts`."""
    table = figures_table("Agent", "Images", "Accuracy", "ECE", "OCR", "CCC", "Brier", "Calibrator", "Share")
    for agent in agents:
        table.add_row(
            one_line(look_name(agent["agent"], agent["stage"])),
            f"{agent['n'] or agent['estimated_on']:,}",
            accuracy_words(agent["accuracy"], agent["estimated_on"]),
            *([f"{agent['ece']:.3f}", f"{agent['ocr']:.3f}", f"{agent['ccc']:.2f}"] if agent["n"] else ["–"] * 3),
            "–" if agent["brier"] is None else f"{agent['brier']:.3f}",
            agent["calibrator"],
            percent(agent["share_of_weight"]),
        )
    return table


def figures_table(first: str, *others: str) -> Table:
    """Return an empty table with text in its first column and figures in the others."""
    made = table(first)
    made.columns[0].min_width = 10
    for name in others:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def in_use_warnings(decision: DecisionSettings) -> list[str]:
    """Return what the figures cannot show of frequencies that are estimated only once images come."""
    if decision.frequencies != "estimate":
        return []
    return ["The frequencies are estimated from the images of each batch: these figures are for the labels' own mix."]


def worth_lines(policy: Mapping[str, Any]) -> list[str]:
    """Return what a word is worth in use, a line a label; `policy` is "policy" in `facts`."""
    worths = {name: Worth(**worth) for name, worth in policy["worth"].items()}
    return [f"{sentence}." for sentence in worth_words([*map(one_line, worths)], [*worths.values()])]


def threshold_words(policy: Mapping[str, Any]) -> str:
    """Return in plain words which images are settled without a person.

    Args:
        policy: "policy" in `facts`.
    """
    if policy["settle"] == "costs":
        return _cost_words(policy)
    if policy["settle"] == "agreement":
        return _agreement_words(policy["threshold"])
    by_set, needed = policy["settle"] == "conformal", policy["images_needed"]
    wish = f"{percent(policy['coverage'])} coverage" if by_set else f"{percent(policy['target'])} accuracy"
    setting = "policy.coverage" if by_set else "policy.target"
    if policy["threshold"] is None:
        if needed is None:
            return (
                f"Every image will be referred to a person: no number of labelled images is enough for {wish}. "
                f"Lower the setting {setting}."
            )
        return (
            f"Every image will be referred to a person: {wish} takes at least {needed:,} labelled {policy['unit']}. "
            f"Add images, or lower the setting {setting}."
        )
    done = "An image is settled without a person if"
    if by_set:
        return (
            f"{done} only one label is possible ({wish}) and its probability is at least "
            f"{percent(policy['threshold'])}."
        )
    return (
        f"{done} its label has a probability of at least {percent(policy['threshold'])}: then, with a certainty of "
        f"{percent(1 - policy['delta'])}, at least {percent(policy['target'])} of the settled images are right."
    )


def _agreement_words(threshold: float | None) -> str:
    if threshold is not None:
        wanted = f"its label has a probability of at least {percent(threshold)}, as the agents' agreement has it"
    else:
        wanted = (
            "all agents that answered, two at least, speak for one label (setting policy.agreed_posterior: not set)"
        )
    return f"An image is settled without a person if {wanted}. How often such labels are right is not known."


def claim_words(claim: Mapping[str, Any] | None) -> list[str]:
    """Return in plain words what to expect of new images, a sentence each; none where nothing is known.

    Args:
        claim: "claim" in `facts`.
    """
    if claim is None:
        return []
    things = "images" if claim["grouping"] == "none" else "things"
    low, high = (percent(bound) for bound in claim["interval"])
    words = [
        f"On new {things} like the labelled ones expect {percent(claim['accuracy'])} right labels (among another "
        f"{claim['groups']:,}: {low} to {high})."
    ]
    ungrouped = claim["ungrouped_accuracy"]
    if ungrouped is not None:
        words.insert(0, f"The {claim['images']:,} images show {claim['groups']:,} things.")
        if ungrouped >= claim["accuracy"] + WORTH_SAYING:
            words.append(
                f"Split image by image it looks like {percent(ungrouped)}: there the agents have seen other images of "
                "the same thing."
            )
    settled = f"{percent(claim['settled'])} are settled without a person"
    if claim["settled_accuracy"] is not None:
        settled += f", of which {percent(claim['settled_accuracy'])} are right"
    words.append(f"{settled}; the true label is among the possible ones of {percent(claim['coverage'])}.")
    return words


def _cost_words(policy: Mapping[str, Any]) -> str:
    words = (
        "An image is settled without a person if its cheapest label is expected to cost less than asking one "
        "(decision.costs)."
    )
    if (costs := policy["costs"]) is None:
        return words
    return (
        f"{words} So an image costs {costs['cost']:.3g} on average; {costs['always']:.3g} if a person is always asked, "
        f"{costs['never']:.3g} if never, {costs['most_probable']:.3g} if the most probable label is always taken."
    )


def choice_words(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why each agent was kept or dropped, a line each, below an empty line; nothing where none was chosen."""
    return ["", *(f"{one_line(choice['agent'])} {one_line(choice['reason'])}" for choice in choices)] if choices else []


def contribution_words(agents: Sequence[Mapping[str, Any]], contributions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each agent adds, a line each, below an empty line; nothing where that was not measured.

    Args:
        agents, contributions: as in `facts`.
    """
    weightless = {a["agent"] for a in agents if a["stage"] == "first" and a["share_of_weight"] < NO_WEIGHT}
    lines = [_contribution(Contribution.from_dict(data), data["agent"] in weightless) for data in contributions]
    return ["", *lines] if lines else []


def _contribution(added: Contribution, is_weightless: bool) -> str:
    words = [f"{added.alone:.2f} alone"]
    if added.adds is None:
        words.append("the only agent")
    else:
        points, between = 100 * added.adds, f"{100 * added.low:.1f} to {100 * added.high:.1f}"
        if added.repeats is not None:
            words.append(f"{'no weight: ' if is_weightless else ''}repeats {one_line(added.repeats)}")
        elif added.is_noise:
            weight = "no weight: " if is_weightless else ""
            words.append(f"{weight}adds nothing beyond noise ({points:.1f} points, {between})")
        else:
            words.append(f"{'adds' if points > 0 else 'costs'} {abs(points):.1f} points ({between})")
    if (confusion := added.confusion) is not None:
        label, said = one_line(confusion.label), one_line(confusion.said)
        words.append(f"says {said} for {percent(confusion.share)} of {label}")
    if added.without is not None:
        less = [f"{1000 * added.cost_usd:.3g} USD less for 1,000 images"] if added.cost_usd else []
        less += [f"{added.seconds:.2g} s sooner"] if added.seconds >= SOONER else []
        words.append(", ".join([f"without it {percent(added.without)} are right", *less]))
    return f"{one_line(added.agent)}: {'; '.join(words)}."


def stream_words(stream: Mapping[str, Any]) -> str:
    """Return in plain words whether the images of a source still are like the labelled ones.

    Args:
        stream: one of "streams" in `consilience show --json`.
    """
    rank = "" if stream["mean_rank"] is None else f"; mean rank of the last ones {stream['mean_rank']:.2f}"
    figures = f"{counted(stream['seen'])}, {stream['counted']:,} of different things{rank}"
    if stream["alarm"]:
        return f"{source_sentence(stream['source'])} ({figures})"
    return f"Nothing shows that the images from '{stream['source']}' differ from the labelled ones ({figures})."
