"""Answers to whether a diagnosis can be relied on, and what to do now: what the verdict and the costs mean."""

from __future__ import annotations

from collections.abc import Sequence

from consilience.core.diagnosis import Diagnosis
from consilience.core.render.phrases import headline, novelty_words, one_line, percent, reasons_of
from consilience.frontends.chat.reply import Reply
from consilience.frontends.chat.rule_answers import how_settled
from consilience.orchestrator.decision.policy import Policy

NO_ADVICE = "What else follows from the label is not in the panel's record: ask somebody who knows."

LEARNS = "Once you know what it shows, say so: the panel can learn from it."

THANKED = f"You're welcome. {LEARNS}"


def can_be_trusted(diagnosis: Diagnosis, id: str, policy: Policy, record: Sequence[str]) -> Reply:
    """Return whether the panel settles a diagnosis, how often it is right, and how like the known images this one is.

    Args:
        record: how often the panel is right, a sentence each.
    """
    if diagnosis.settled:
        verdict = f"By the panel's rule no person needs to look: {headline(diagnosis)}."
    else:
        verdict = f"Not without a person: {_why_not_settled(diagnosis)}"
    like = novelty_words(diagnosis.evidence, diagnosis.novelty)
    return Reply("\n".join([verdict, *record, *how_settled(policy), like]), diagnosis=id)


def what_to_do(diagnosis: Diagnosis, id: str, policy: Policy, *, can_refer: bool) -> Reply:
    """Return what the verdict asks for, and what it rests on; beyond that nothing is advised."""
    label = f"{one_line(diagnosis.label)}, {percent(diagnosis.probability)}"
    if diagnosis.unjudgeable:
        lines = [f"{one_line(diagnosis.unjudgeable).rstrip('.')}. Then give me the new image."]
    elif diagnosis.settled:
        lines = [f'The verdict is "confident": no person needs to look, it counts as {label}.', *how_settled(policy)]
    else:
        lines = [
            'The verdict is "refer": show the image to a person who knows such images before anybody acts on it.',
            f"Why: {_why_not_settled(diagnosis)}",
            f"{headline(diagnosis)}.",
        ]
    if diagnosis.expected_cost is not None and policy.costs is not None:
        lines.append(
            f"To say {one_line(diagnosis.label)} is expected to cost {diagnosis.expected_cost:.3g}; to ask a person "
            f"costs {policy.costs.person:.3g}."
        )
    if can_refer and not diagnosis.settled:
        lines.append("You can refer it to a person from here.")
    return Reply("\n".join([*lines, LEARNS, NO_ADVICE]), diagnosis=id)


def _why_not_settled(diagnosis: Diagnosis) -> str:
    return f"{reasons_of(diagnosis) or 'the panel does not settle it'}."
