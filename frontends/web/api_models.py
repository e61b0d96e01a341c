"""What the API answers: a diagnosis in its own words, and beside it, in `page`, what only the web page needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_schema import diagnosis_schema
from consilience.core.render.colours import label_colours
from consilience.core.render.heat_map import HeatMap
from consilience.core.render.phrases import (
    alternatives,
    headline,
    novelty_words,
    one_line,
    origin,
    percent,
    reading_words,
    source_name,
    title,
)
from consilience.frontends.chat.reply import WHERE_PICTURE, Reply
from consilience.orchestrator.feedback.feedback import Feedback
from consilience.orchestrator.feedback.history import StoredDiagnosis


class Heat(BaseModel):
    """Which regions of the image speak for a label, and which for another."""

    label: str
    other: str = Field(description="the label that it is compared with")
    agents: list[str] = Field(description="whose sight it is: those that can tell where they looked")
    cells: list[list[float]] = Field(
        description="rows from top to bottom, of cells from left to right, that cover the whole image: above 0 the "
        "place speaks for `label`, below 0 for `other`; 1 or -1 where the image says most"
    )
    words: str = Field(description="what it says, in a few sentences")


class PageStep(BaseModel):
    """One step of the way to the diagnosis."""

    title: str
    lines: list[str]


class Vote(BaseModel):
    """What a person says the image shows."""

    label: str = Field(description="in words: a label, or 'none of these'")
    is_mine: bool = Field(description="whether whoever asks gave it")
    status: str = Field(description="waiting, counts, refused or undone")


class PageSummary(BaseModel):
    """What the page needs to list a diagnosis."""

    headline: str = Field(description="the verdict in a line")
    title: str = Field(description="what the diagnosis says, to stand beside the verdict")
    picture: str | None = Field(description="address of the image, made small; null if it was not kept")


class DiagnosisPage(PageSummary):
    """What the page needs to show a diagnosis."""

    alternatives: str = Field(description="the other labels of the prediction set, in words")
    colours: dict[str, str] = Field(description="colour by label")
    reading: str = Field(description="how the image was read, in words, where its file leaves that open; else empty")
    novelty: str = Field(description="how unlike the known images the image is, in words")
    steps: list[PageStep] = Field(description="how the diagnosis came about")
    origin: str = Field(description="which image, and what the diagnosis took")
    feedback: list[Vote]


class DiagnosisSummary(BaseModel):
    """A diagnosis on a line of a list, in the words of the diagnosis."""

    id: str = Field(description="unguessable: whoever has it can see the diagnosis")
    when: str = Field(description="UTC, ISO 8601")
    source: str
    label: str
    probability: float = Field(description="posterior probability of the label, [0, 1]")
    verdict: Literal["confident", "refer"]
    page: PageSummary


class TableResponse(BaseModel):
    """A table of a reply: each row begins with what it is about."""

    columns: list[str]
    rows: list[list[str]]


class Turn(BaseModel):
    """A reply in the conversation."""

    text: str
    table: TableResponse | None
    closing: str
    picture: str | None = Field(description="address of a picture that belongs to it")
    picture_alt: str = Field(description="what the picture shows")
    diagnosis: str = Field(description="the id of the diagnosis that it is about")


def diagnosis_response(stored: StoredDiagnosis, feedback: Sequence[Feedback], person: str) -> dict[str, Any]:
    """Return what the API writes of a diagnosis: `Diagnosis.to_dict()`, its `id` and `when`, and `page`.

    Args:
        person: who asks; their own votes are marked.
    """
    diagnosis = stored.diagnosis
    page = DiagnosisPage(
        **_page_summary(stored).model_dump(),
        alternatives=alternatives(diagnosis),
        colours=label_colours(diagnosis),
        reading=reading_words(diagnosis),
        novelty=novelty_words(diagnosis.evidence, diagnosis.novelty),
        steps=_steps(diagnosis),
        origin=origin(diagnosis),
        feedback=[
            Vote(label=one_line(vote.label), is_mine=bool(person) and vote.person == person, status=vote.status)
            for vote in feedback
        ],
    )
    return {"id": stored.id, "when": _when(stored), **_without_folders(diagnosis.to_dict()), "page": page.model_dump()}


def diagnosis_response_schema() -> dict[str, Any]:
    """Return the JSON Schema of `diagnosis_response`, whole: OpenAPI has no place for definitions beside it."""
    diagnosis, page = diagnosis_schema(), DiagnosisPage.model_json_schema()
    added = {
        "id": {"type": "string", "description": "unguessable: whoever has it can see the diagnosis"},
        "when": {"type": "string", "description": "UTC, ISO 8601"},
        "page": page,
    }
    schema = {
        "type": "object",
        "properties": {**diagnosis["properties"], **added},
        "required": sorted([*diagnosis["required"], *added]),
        "additionalProperties": False,
    }
    whole: dict[str, Any] = _written_out(schema, {**diagnosis["$defs"], **page.pop("$defs")})
    return whole


def heat_response(heat: HeatMap) -> Heat:
    """Return a heat map as the API writes it."""
    cells = heat.cells.astype(float).round(3).tolist()
    return Heat(label=heat.label, other=heat.other, agents=[*heat.evidence], cells=cells, words=heat.words)


def diagnosis_summary(stored: StoredDiagnosis) -> DiagnosisSummary:
    """Return a diagnosis as a list shows it."""
    diagnosis = stored.diagnosis
    return DiagnosisSummary(
        id=stored.id,
        when=_when(stored),
        source=source_name(diagnosis.source),
        label=diagnosis.label,
        probability=diagnosis.probability,
        verdict=diagnosis.verdict,
        page=_page_summary(stored),
    )


def turn_response(reply: Reply) -> Turn:
    """Return a reply as the API writes it."""
    table = None
    if reply.table is not None:
        table = TableResponse(columns=list(reply.table.columns), rows=[list(row) for row in reply.table.rows])
    picture = reply.pictures[0] if reply.pictures else None
    return Turn(
        text=reply.text,
        table=table,
        closing=reply.closing,
        picture=_address(reply.diagnosis, picture.name) if picture else None,
        picture_alt=picture.alt_text if picture else "",
        diagnosis=reply.diagnosis,
    )


def _address(diagnosis: str, picture: str) -> str:
    """Return the address of a picture of a reply."""
    return f"/v1/diagnoses/{diagnosis}/picture" + ("?heat=true" if picture == WHERE_PICTURE else "")


def _page_summary(stored: StoredDiagnosis) -> PageSummary:
    has_picture = stored.thumbnail is not None
    return PageSummary(
        headline=headline(stored.diagnosis),
        title=title(stored.diagnosis),
        picture=f"/v1/diagnoses/{stored.id}/image" if has_picture else None,
    )


def _when(stored: StoredDiagnosis) -> str:
    return stored.when.isoformat(timespec="seconds")


def _without_folders(record: dict[str, Any]) -> dict[str, Any]:
    """Name images by their files alone: where they lie on the server's disk is nobody else's business."""
    record["source"] = source_name(record["source"])
    for neighbour in record["evidence"]["neighbours"]:
        neighbour["source"] = source_name(neighbour["source"])
    return record


def _written_out(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema with the definitions in the place of each reference to them."""
    if isinstance(schema, list):
        return [_written_out(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: _written_out(part, definitions) for name, part in schema.items() if name != "$ref"}
    if isinstance(reference := schema.get("$ref"), str):
        whole = {**_written_out(definitions[reference.rpartition("/")[2]], definitions), **whole}
    return whole


def _steps(diagnosis: Diagnosis) -> list[PageStep]:
    """Return the way to the diagnosis: first looks, evidence, second looks and who changed their mind, verdict."""
    first = {prediction.agent: prediction for prediction in diagnosis.predictions if prediction.stage == "first"}
    second = [prediction for prediction in diagnosis.predictions if prediction.stage == "second"]
    counts = Counter(one_line(prediction.label) for prediction in first.values() if prediction.label is not None)
    votes = ", ".join(f"{count} for {label}" for label, count in counts.most_common())
    steps = [PageStep(title=f"{len(first)} agents looked, each alone", lines=[votes or "None of them answered."])]
    if diagnosis.first_posterior is not None:
        label = max(diagnosis.first_posterior, key=diagnosis.first_posterior.__getitem__)
        steps[0].lines.append(f"Weighed by trust: {one_line(label)}, {percent(diagnosis.first_posterior[label])}.")
    if near := Counter(one_line(neighbour.label) for neighbour in diagnosis.evidence.neighbours):
        cases = ", ".join(f"{count} {label}" for label, count in near.most_common())
        steps.append(PageStep(title=f"{near.total()} similar known cases were found", lines=[cases]))
    if second:
        lines = []
        for prediction in second:
            agent, before, now = one_line(prediction.agent), first.get(prediction.agent), prediction.label
            if now is None:
                lines.append(f"{agent} gave no answer.")
            elif before is not None and before.label is not None and before.label != now:
                lines.append(f"{agent} changed from {one_line(before.label)} to {one_line(now)}.")
            else:
                lines.append(f"{agent} stayed with {one_line(now)}.")
        steps.append(PageStep(title="Not clear yet: agents looked again, with these cases in hand", lines=lines))
    rounds = "one round" if diagnosis.rounds == 1 else f"{diagnosis.rounds} rounds"
    steps.append(PageStep(title=f"Weighed by trust, in {rounds}", lines=[headline(diagnosis)]))
    return steps
