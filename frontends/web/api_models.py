"""A diagnosis as the API gives it: the figures, and the words and colours in which a page shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from consilience.core.diagnosis import Diagnosis
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.rendering import (
    OTHER,
    alternatives,
    headline,
    label_colours,
    novelty_words,
    one_line,
    origin,
    percent,
    ranked,
    source_name,
)
from consilience.frontends.chat.reply import Reply
from consilience.orchestrator.feedback.feedback import Feedback
from consilience.orchestrator.feedback.history import StoredDiagnosis

BARS, CASES = 10, 12


class Bar(BaseModel):
    """One label's part of the posterior."""

    label: str
    share: float = Field(description="posterior probability, [0, 1]")
    words: str
    colour: str
    in_set: bool = Field(description="whether the label is in the prediction set")


class Earned(BaseModel):
    """How an agent did on labelled images that it was not fitted on."""

    n: int
    accuracy: float | None
    ece: float
    ocr: float
    ccc: float


class LookResponse(BaseModel):
    """What one agent said."""

    agent: str
    stage: Literal["first", "second"]
    name: str = Field(description="agent and stage in words")
    outcome: Literal["answered", "abstained", "failed"]
    label: str | None
    colour: str
    probability: float | None = Field(description="calibrated, of that label; [0, 1]")
    weight: float | None = Field(description="its share of the weight, [0, 1]")
    note: str = Field(description="its reason or its error, in its own words")
    trust: Earned | None


class Similar(BaseModel):
    """A labelled case from the image memory."""

    label: str
    colour: str
    similarity: float = Field(description="cosine, [-1, 1]; higher is more similar")
    name: str
    picture: str = Field(description="address of its picture")


class Event(BaseModel):
    """One step of the way to the diagnosis."""

    title: str
    lines: list[str]


class Said(BaseModel):
    """What a person said of the diagnosis."""

    label: str
    is_mine: bool
    status: str = Field(description="waiting, counts, refused or undone")


class Brief(BaseModel):
    """A diagnosis on a line of a list."""

    id: str = Field(description="unguessable: whoever has it can see the diagnosis")
    when: str
    name: str
    headline: str
    verdict: Literal["confident", "refer"]
    label: str
    probability: float
    picture: str | None = Field(description="address of the image, made small; null if it was not kept")


class DiagnosisResponse(Brief):
    """A diagnosis."""

    link: str = Field(description="the page that shows it")
    words: str = Field(description="the probability as it is written")
    alternatives: str
    reasons: list[str] = Field(description="why a person must look")
    posterior: list[Bar] = Field(description="most probable first; what is beyond the tenth is one bar")
    looks: list[LookResponse]
    evidence: list[Similar]
    novelty: float = Field(description="share of the remembered images that are less novel, [0, 1]")
    novelty_words: str
    way: list[Event]
    rationale: str
    took: str
    labels: list[str] = Field(description="all that could be said instead, most probable first")
    feedback: list[Said]
    record: dict[str, Any] = Field(description="the whole record, as `consilience diagnose --json` writes it")


class TableResponse(BaseModel):
    columns: list[str]
    rows: list[list[str]]


class Turn(BaseModel):
    """A reply in the conversation."""

    text: str
    table: TableResponse | None
    closing: str
    picture: str | None
    picture_words: str
    diagnosis: str = Field(description="the id of the diagnosis that it is about")


def brief(kept: StoredDiagnosis) -> Brief:
    return Brief(**_brief(kept))


def answer(kept: StoredDiagnosis, feedback: Sequence[Feedback], person: str) -> DiagnosisResponse:
    """`person`: who asks, and sees which word is theirs."""
    diagnosis = kept.diagnosis
    colours = label_colours(diagnosis)
    total = sum(one.weight or 0.0 for one in diagnosis.predictions)
    return DiagnosisResponse(
        **_brief(kept),
        link=f"/d/{kept.id}",
        words=percent(diagnosis.probability),
        alternatives=alternatives(diagnosis),
        reasons=[one_line(reason).rstrip(".") for reason in diagnosis.reasons],
        posterior=_bars(diagnosis, colours),
        looks=[_look(diagnosis, one, total, colours) for one in diagnosis.predictions],
        evidence=[
            Similar(
                label=one_line(one.label),
                colour=colours.get(one.label, OTHER),
                similarity=one.similarity,
                name=source_name(one.source),
                picture=f"/v1/diagnoses/{kept.id}/cases/{place}",
            )
            for place, one in enumerate(diagnosis.evidence.neighbours[:CASES])
        ],
        novelty=diagnosis.evidence.novelty,
        novelty_words=novelty_words(diagnosis.evidence),
        way=_way(diagnosis),
        rationale=one_line(diagnosis.rationale, 4000),
        took=origin(diagnosis),
        labels=sorted(diagnosis.posterior, key=lambda label: -diagnosis.posterior[label]),
        feedback=[
            Said(label=one.label, is_mine=bool(person) and one.person == person, status=one.status) for one in feedback
        ],
        record=_record(diagnosis),
    )


def turn(reply: Reply) -> Turn:
    table = None
    if reply.table is not None:
        table = TableResponse(columns=list(reply.table.columns), rows=[list(row) for row in reply.table.rows])
    picture = reply.pictures[0] if reply.pictures else None
    return Turn(
        text=reply.text,
        table=table,
        closing=reply.closing,
        picture=f"/v1/diagnoses/{reply.diagnosis}/picture" if picture else None,
        picture_words=picture.words if picture else "",
        diagnosis=reply.diagnosis,
    )


def _brief(kept: StoredDiagnosis) -> dict[str, Any]:
    diagnosis = kept.diagnosis
    return {
        "id": kept.id,
        "when": kept.when.isoformat(timespec="seconds"),
        "name": source_name(diagnosis.source),
        "headline": headline(diagnosis),
        "verdict": diagnosis.verdict,
        "label": diagnosis.label,
        "probability": diagnosis.probability,
        "picture": f"/v1/diagnoses/{kept.id}/image" if kept.thumbnail is not None else None,
    }


def _record(diagnosis: Diagnosis) -> dict[str, Any]:
    """Where the images lie on the server's disk is nobody's business but the server's."""
    record = diagnosis.to_dict()
    record["source"] = source_name(record["source"])
    for one in record["evidence"]["neighbours"]:
        one["source"] = source_name(one["source"])
    return record


def _bars(diagnosis: Diagnosis, colours: dict[str, str]) -> list[Bar]:
    shown, rest = ranked(diagnosis.posterior, BARS)
    bars = [
        Bar(
            label=one_line(label),
            share=share,
            words=percent(share),
            colour=colours[label],
            in_set=label in diagnosis.prediction_set,
        )
        for label, share in shown
    ]
    if rest:
        others = min(1.0, sum(rest))
        bars.append(Bar(label=f"{len(rest)} others", share=others, words=percent(others), colour=OTHER, in_set=False))
    return bars


def _look(diagnosis: Diagnosis, prediction: Prediction, total: float, colours: dict[str, str]) -> LookResponse:
    shares = prediction.calibrated or prediction.probabilities
    label = max(shares, key=shares.__getitem__) if shares else None
    key = (prediction.agent, prediction.stage)
    earned = [
        Earned(n=one.n, accuracy=one.accuracy, ece=one.ece, ocr=one.ocr, ccc=one.ccc)
        for one in diagnosis.trust
        if (one.agent, one.stage) == key
    ]
    return LookResponse(
        agent=prediction.agent,
        stage=prediction.stage,
        name=one_line(look_name(prediction.agent, prediction.stage)),
        outcome="answered" if shares else "failed" if prediction.error is not None else "abstained",
        label=None if label is None else one_line(label),
        colour=OTHER if label is None else colours.get(label, OTHER),
        probability=shares[label] if shares and label is not None else None,
        weight=prediction.weight / total if prediction.weight is not None and total > 0 else None,
        note=one_line(prediction.error or prediction.rationale, 1000),
        trust=next(iter(earned), None),
    )


def _way(diagnosis: Diagnosis) -> list[Event]:
    """First looks, evidence, second looks with who changed their mind, verdict."""
    first = {one.agent: one for one in diagnosis.predictions if one.stage == "first"}
    second = [one for one in diagnosis.predictions if one.stage == "second"]
    votes = Counter(one_line(one.label) for one in first.values() if one.label is not None)
    said = ", ".join(f"{count} for {label}" for label, count in votes.most_common())
    events = [Event(title=f"{len(first)} agents looked, each alone", lines=[said or "None of them answered."])]
    if diagnosis.first_posterior is not None:
        label = max(diagnosis.first_posterior, key=diagnosis.first_posterior.__getitem__)
        events[0].lines.append(f"Weighed by trust: {one_line(label)}, {percent(diagnosis.first_posterior[label])}.")
    if near := Counter(one_line(one.label) for one in diagnosis.evidence.neighbours):
        cases = ", ".join(f"{count} {label}" for label, count in near.most_common())
        events.append(Event(title=f"{near.total()} similar cases were found", lines=[cases]))
    if second:
        lines = []
        for one in second:
            before, now = first.get(one.agent), one.label
            if now is None:
                lines.append(f"{one_line(one.agent)} gave no answer.")
            elif before is not None and before.label not in (None, now):
                lines.append(f"{one_line(one.agent)} changed from {one_line(before.label or '')} to {one_line(now)}.")
            else:
                lines.append(f"{one_line(one.agent)} stayed with {one_line(now)}.")
        events.append(Event(title="Nothing was settled: a second look, with these cases in hand", lines=lines))
    rounds = "one round" if diagnosis.rounds == 1 else f"{diagnosis.rounds} rounds"
    events.append(Event(title=f"Weighed by trust, in {rounds}", lines=[headline(diagnosis)]))
    return events
