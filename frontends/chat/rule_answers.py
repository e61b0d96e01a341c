"""Answers from a recorded diagnosis, by rules: nothing is looked at, and no figure is made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from consilience.core.diagnosis import Diagnosis
from consilience.core.images import Image
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.phrases import headline, novelty_words, one_line, percent
from consilience.core.render.tables import (
    CASE_COLUMNS,
    NARROW_AGENT_COLUMNS,
    agent_cells,
    agent_rows,
    case_cells,
    posterior_rows,
)
from consilience.frontends.chat.reply import Button, Reply, ReplyPicture, ReplyTable
from consilience.orchestrator.decision.leave_out import without
from consilience.orchestrator.decision.weighing import Weigher
from consilience.orchestrator.feedback.drift import AgentDrift

LABELS, CASES = 5, 8

HELP = (
    "Give me an image, and I say what it shows, or that a person must look. Then ask: why? · who disagreed? · "
    "how sure? · show similar cases · what if you don't trust AGENT? · look again."
)


def diagnosed(diagnosis: Diagnosis, id: str, image: Image | None, labels: Sequence[str], *, can_refer: bool) -> Reply:
    """A diagnosis: the verdict first, then who said what, the evidence, the rationale, and what one can say to it.

    Args:
        image: what is drawn in the picture; None: there is no picture.
        labels: that the panel's task has by now.
        can_refer: whether there is somebody to refer to.
    """
    return Reply(
        "\n".join([headline(diagnosis), *_doubts(diagnosis)]),
        agents_table(diagnosis),
        () if image is None else (_picture(diagnosis, image),),
        one_line(diagnosis.rationale, 2000),
        _buttons(diagnosis, labels, can_refer),
        id,
        diagnosis.settled,
    )


def has_fallen(one: AgentDrift) -> str:
    """Which agent has become worse, since when, by how much, and with what certainty."""
    since = "" if one.since is None else f" since {one.since:%Y-%m-%d}"
    recent = "–" if one.recent is None else percent(one.recent)
    return (
        f"The agent {one_line(look_name(one.agent, one.stage))} has become worse: it was right on {recent} of the "
        f"{one.recent_images} images that people confirmed{since}, and on {percent(one.fitted)} when it was fitted. "
        f"The probability of so great a fall by chance is {one.p_value:.3f}."
    )


def agents_table(diagnosis: Diagnosis) -> ReplyTable:
    """Who said what, how much it counts, and how much trust the agent has earned."""
    rows = agent_rows(diagnosis.predictions, diagnosis.trust)
    return ReplyTable(NARROW_AGENT_COLUMNS, tuple(agent_cells(rows, NARROW_AGENT_COLUMNS)))


def why(diagnosis: Diagnosis, id: str) -> Reply:
    return Reply("\n".join([one_line(diagnosis.rationale, 2000), *_doubts(diagnosis)]), diagnosis=id)


def who(diagnosis: Diagnosis, id: str) -> Reply:
    """Who named another label, who changed their mind, and who did not answer."""
    label = diagnosis.label
    heard = [one for one in diagnosis.predictions if one.calibrated is not None]
    against = [one for one in heard if _named(one) != label]
    lines = []
    if not against:
        lines.append(f"Nobody disagreed: all {len(heard)} whose word counts say {one_line(label)}.")
    else:
        said = ", ".join(f"{_name(one)} says {one_line(_named(one))}" for one in against)
        lines.append(f"{len(against)} of {len(heard)} disagreed with {one_line(label)}: {said}.")
    first = {one.agent: one.label for one in diagnosis.predictions if one.stage == "first"}
    for one in diagnosis.predictions:
        before = first.get(one.agent)
        if one.stage == "second" and one.label is not None and before not in (None, one.label):
            lines.append(f"{one_line(one.agent)} changed from {one_line(before or '')} to {one_line(one.label)}.")
    if silent := [_name(one) for one in diagnosis.predictions if one.probabilities is None]:
        lines.append(f"Without an answer: {', '.join(silent)}.")
    return Reply("\n".join(lines), agents_table(diagnosis), diagnosis=id)


def similar(diagnosis: Diagnosis, id: str, image: Image | None) -> Reply:
    """The most similar labelled cases."""
    rows = [case_cells(neighbour) for neighbour in diagnosis.evidence.neighbours[:CASES]]
    return Reply(
        novelty_words(diagnosis.evidence),
        ReplyTable(CASE_COLUMNS, tuple(rows)) if rows else None,
        () if image is None else (_picture(diagnosis, image),),
        diagnosis=id,
    )


def how_sure(diagnosis: Diagnosis, id: str, weigher: Weigher) -> Reply:
    """The posterior, the prediction set, and what such a word has been worth on labelled images."""
    rows = [(row.name, percent(row.share)) for row in posterior_rows(diagnosis, LABELS)]
    lines = [headline(diagnosis)]
    if len(those := diagnosis.prediction_set) > 1:
        together = percent(sum(diagnosis.posterior[label] for label in those))
        lines.append(f"{' or '.join(map(one_line, those))}: together {together}.")
    threshold = weigher.policy.threshold
    if threshold.probability is not None:
        lines.append(
            f"The panel settles first looks from a posterior of {percent(threshold.probability)} on; of the labelled "
            f"images that it settled so, {percent(threshold.accuracy)} were right."
        )
    return Reply(
        "\n".join([*lines, *_doubts(diagnosis)]), ReplyTable(("Label", "Posterior"), tuple(rows)), diagnosis=id
    )


def what_if(diagnosis: Diagnosis, id: str, agents: tuple[str, ...], weigher: Weigher) -> Reply:
    """The recorded predictions, weighed without some agents.

    Raises:
        PanelError: the panel cannot weigh them any more.
    """
    there = list(dict.fromkeys(one.agent for one in diagnosis.predictions))
    if not agents:
        return Reply(f"Without whom? These took part: {', '.join(map(one_line, there))}.", diagnosis=id)
    names = " and ".join(map(one_line, agents))
    other, same = without(diagnosis, agents, weigher), without(diagnosis, (), weigher)
    if other is None or same is None:
        return Reply(f"Without {names} nobody is left who answered.", diagnosis=id)
    lines = [f"Without {names}: {headline(other)}.", *_doubts(other), f"As it was: {headline(diagnosis)}."]
    if any(abs(same.posterior[label] - share) > 5e-4 for label, share in diagnosis.posterior.items()):
        lines.append(
            f"Weighed anew with all agents it is: {headline(same)}; the panel has learned since, or a reasoner decided."
        )
    return Reply("\n".join(lines), agents_table(other), diagnosis=id)


def looked_again(diagnosis: Diagnosis, before: Diagnosis, reply: Reply) -> Reply:
    """The reply to a new diagnosis of the same image, with what has changed."""
    again = [one_line(one.agent) for one in diagnosis.predictions if one.stage == "second"]
    if again:
        what = f"{', '.join(again)} looked again with the evidence in hand."
    elif diagnosis.settled:
        what = "The first looks settle it, so nobody was asked for a second one."
    else:
        what = "No agent of this panel could look a second time."
    return replace(reply, text=f"{reply.text}\n{what} Before: {headline(before)}.")


def unknown(diagnosis: Diagnosis, id: str) -> Reply:
    """To a question that no rule fits."""
    return Reply(f"That I cannot answer from the record. {HELP}", diagnosis=id)


def _doubts(diagnosis: Diagnosis) -> list[str]:
    reasons = "; ".join(one_line(reason).rstrip(".") for reason in diagnosis.reasons)
    return [f"Why a person should look: {reasons}."] if reasons else []


def _named(prediction: Prediction) -> str:
    shares = prediction.calibrated or {}
    return max(shares, key=shares.__getitem__)


def _name(prediction: Prediction) -> str:
    return one_line(look_name(prediction.agent, prediction.stage))


def _picture(diagnosis: Diagnosis, image: Image) -> ReplyPicture:
    def draw() -> bytes:
        from consilience.core.render.picture import drawn

        return drawn(diagnosis, image)

    words = f"{headline(diagnosis)}. The image, the posterior, each agent's word and weight, the most similar cases."
    return ReplyPicture("evidence.png", words, draw)


def _buttons(diagnosis: Diagnosis, labels: Sequence[str], can_refer: bool) -> tuple[Button, ...]:
    """The labels of the menu keep their places: those that the task got since come last."""
    known = sorted(diagnosis.posterior, key=diagnosis.posterior.__getitem__, reverse=True)
    others = [*known, *(one for one in labels if one not in diagnosis.posterior)]
    return (
        Button("Right", "right"),
        Button("Wrong: it is…", "wrong", tuple(one for one in others if one != diagnosis.label)),
        *([Button("Refer to a person", "refer")] if can_refer else []),
    )
