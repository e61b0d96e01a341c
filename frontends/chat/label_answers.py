"""Answers about the labels that a diagnosis does not name: which else it may be, and why it is not a certain one."""

from __future__ import annotations

from collections.abc import Sequence

from consilience.core.diagnosis import Diagnosis
from consilience.core.render.phrases import PERHAPS_NONE, one_line, percent
from consilience.core.render.tables import posterior_rows
from consilience.frontends.chat.reply import Reply, ReplyTable
from consilience.frontends.chat.rule_answers import MAX_LABELS, by_posterior, in_full, name_of, why
from consilience.orchestrator.decision.policy import Policy

MAX_LISTED = 12
"""Labels that are listed to choose from."""


def others(diagnosis: Diagnosis, id: str) -> Reply:
    """Return which other labels the image may show, with their posterior."""
    lines = [f"{PERHAPS_NONE}: it is unlike the images that the panel knows."] if diagnosis.is_novel else []
    possible = [label for label in diagnosis.prediction_set if label != diagnosis.label]
    named = f"Beside {_with_shares(diagnosis, [diagnosis.label])} "
    if possible:
        lines.append(f"{named}it could be {_with_shares(diagnosis, possible[:MAX_LABELS])}.")
        if len(possible) > MAX_LABELS:
            lines.append(f"{len(possible) - MAX_LABELS} more labels cannot be excluded.")
    elif following := [label for label in by_posterior(diagnosis) if label != diagnosis.label][:1]:
        lines.append(f"{named}the panel's rule leaves no label open; next is {_with_shares(diagnosis, following)}.")
    rows = tuple((row.name, percent(row.share)) for row in posterior_rows(diagnosis, MAX_LABELS))
    return Reply("\n".join(lines), ReplyTable(("Label", "Posterior"), rows), diagnosis=id)


def why_not(diagnosis: Diagnosis, id: str, labels: Sequence[str], policy: Policy) -> Reply:
    """Return why a diagnosis names another label than those asked about: posterior, agents, similar cases, costs."""
    if not labels:
        names = [*map(one_line, diagnosis.posterior)]
        more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
        return Reply(f"Which label? This diagnosis chose from {', '.join(names[:MAX_LISTED])}{more}.", diagnosis=id)
    if diagnosis.label in labels:
        said = why(diagnosis, id)
        named = f"{one_line(diagnosis.label)} is the label that it names: {in_full(diagnosis)}."
        return Reply(f"{named}\n{said.text}", diagnosis=id)
    return Reply("\n".join(line for label in labels for line in _against(diagnosis, label, policy)), diagnosis=id)


def _against(diagnosis: Diagnosis, label: str, policy: Policy) -> list[str]:
    name, named = one_line(label), one_line(diagnosis.label)
    share = diagnosis.posterior[label]
    lines = [f"{name} has {percent(share)}, {named} {percent(diagnosis.probability)}."]
    if share > diagnosis.probability:
        is_cheaper = diagnosis.expected_cost is not None
        lines.append(
            f"But {named} is expected to cost least." if is_cheaper else f"But a reasoner decided for {named}."
        )
    counted = [prediction for prediction in diagnosis.predictions if prediction.calibrated is not None]
    shares = {name_of(prediction): (prediction.calibrated or {}).get(label, 0.0) for prediction in counted}
    if saying := [name_of(prediction) for prediction in counted if prediction.counted_label == label]:
        listed = ", ".join(f"{agent} ({percent(shares[agent])})" for agent in saying)
        lines.append(
            f"{len(saying)} of {len(counted)} answers that count name{'s' * (len(saying) == 1)} {name}: {listed}."
        )
    elif shares:
        most = max(shares, key=shares.__getitem__)
        lines.append(f"No answer that counts names {name}; {most} gives it the most, {percent(shares[most])}.")
    if cases := diagnosis.evidence.neighbours:
        n = sum(case.label == label for case in cases)
        lines.append(f"Of the {len(cases)} most similar labelled images, {n or 'none'} show{'s' * (n < 2)} {name}.")
    if label in diagnosis.prediction_set:
        lines.append(f"The panel cannot exclude {name}.")
    elif policy.follows_sets:
        lines.append(
            f"The panel excludes {name}. Of images like the labelled ones it excludes the true label in at most "
            f"{percent(1.0 - policy.settings.coverage)}."
        )
    return lines


def _with_shares(diagnosis: Diagnosis, labels: Sequence[str]) -> str:
    return " or ".join(f"{one_line(label)} ({percent(diagnosis.posterior[label])})" for label in labels)
