"""The comparison of an image with the one before it in a conversation, from the records of both."""

from __future__ import annotations

import numpy as np

from consilience.core.diagnosis import Diagnosis
from consilience.core.render.phrases import headline, one_line, percent, source_name
from consilience.frontends.chat.reply import Reply, ReplyTable
from consilience.frontends.chat.rule_answers import name_of

NOTHING_BEFORE = "There is no other image before this one in our conversation. Give me another, and ask again."

NOT_KNOWN = "–"


def compared(diagnosis: Diagnosis, before: Diagnosis | None, id: str) -> Reply:
    """Return what differs between a diagnosis and the one before: verdict, posterior, agents' answers, novelty."""
    if before is None:
        return Reply(NOTHING_BEFORE, diagnosis=id)
    lines = [f"This one: {headline(diagnosis)}.", f"Before ({source_name(before.source)}): {headline(before)}."]
    if (alike := _similarity(diagnosis, before)) is not None:
        lines.append(f"Similarity of the two images, as of the similar cases: {alike:.3f}.")
    rows = [*_of_labels(diagnosis, before), *_of_agents(diagnosis, before)]
    rows.append(("Novelty", _share(diagnosis.novelty), _share(before.novelty)))
    return Reply("\n".join(lines), ReplyTable(("What", "This one", "Before"), tuple(rows)), diagnosis=id)


def _of_labels(diagnosis: Diagnosis, before: Diagnosis) -> list[tuple[str, str, str]]:
    """Return the posterior of the labels that either names."""
    labels = dict.fromkeys((diagnosis.label, before.label))
    return [
        (one_line(label), _share(diagnosis.posterior.get(label)), _share(before.posterior.get(label)))
        for label in labels
    ]


def _of_agents(diagnosis: Diagnosis, before: Diagnosis) -> list[tuple[str, str, str]]:
    """Return what each agent's look named; the agents of one may be others than those of the other."""
    answers = [{name_of(p): one_line(p.counted_label or NOT_KNOWN) for p in d.predictions} for d in (diagnosis, before)]
    this, that = answers
    return [(name, this.get(name, NOT_KNOWN), that.get(name, NOT_KNOWN)) for name in dict.fromkeys((*this, *that))]


def _similarity(diagnosis: Diagnosis, before: Diagnosis) -> float | None:
    """Return the cosine similarity of what one encoder made of both; None where it is not known."""
    this, that = diagnosis.embedding, before.embedding
    if this is None or that is None or this.encoder != that.encoder:
        return None
    return float(np.dot(this.vector, that.vector))


def _share(share: float | None) -> str:
    return NOT_KNOWN if share is None else percent(share)
