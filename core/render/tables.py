"""The tables of a diagnosis."""

from __future__ import annotations

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.evidence import Neighbour
from consilience.core.prediction import Prediction, look_name
from consilience.core.render.phrases import one_line, percent, ranked, source_name

AGENT_COLUMNS = ("Agent", "Says", "Raw", "Calibrated", "Weight", "n", "Accuracy", "ECE", "OCR", "CCC")


def agent_row(diagnosis: DiagnosisRecord, prediction: Prediction) -> tuple[str, ...]:
    """The cells under AGENT_COLUMNS."""
    label, raw, calibrated = prediction.label, prediction.probabilities, prediction.calibrated
    if label is None or raw is None:
        said = ["failed" if prediction.error is not None else "abstained", "–", "–"]
    else:
        said = [one_line(label), percent(raw[label]), "–" if calibrated is None else percent(calibrated[label])]
        if calibrated is not None and (first := max(calibrated, key=calibrated.__getitem__)) != label:
            said[2] += f"; {one_line(first)} {percent(calibrated[first])}"
    weight = "–" if prediction.weight is None else f"{prediction.weight:.2f}"
    key = (prediction.agent, prediction.stage)
    trust = next((trust for trust in diagnosis.trust if (trust.agent, trust.stage) == key), None)
    if trust is None:
        return (one_line(look_name(prediction.agent, prediction.stage)), *said, weight, *"–––––")
    accuracy = "–" if trust.accuracy is None else percent(trust.accuracy)
    figures = (f"{trust.ece:.3f}", f"{trust.ocr:.3f}", f"{trust.ccc:.2f}")
    return (one_line(look_name(prediction.agent, prediction.stage)), *said, weight, f"{trust.n}", accuracy, *figures)


def notes_of(diagnosis: DiagnosisRecord) -> list[tuple[str, str]]:
    """Agent and what it said in words: its error, or why it answered or abstained."""
    notes = []
    for prediction in diagnosis.predictions:
        if prediction.error is not None:
            notes.append(
                (one_line(look_name(prediction.agent, prediction.stage)), f"failed: {one_line(prediction.error)}")
            )
        elif said := one_line(prediction.rationale):
            notes.append(
                (
                    one_line(look_name(prediction.agent, prediction.stage)),
                    f"abstained: {said}" if prediction.abstained else said,
                )
            )
    return notes


def posterior_rows(diagnosis: DiagnosisRecord) -> list[tuple[str, float]]:
    shown, rest = ranked(diagnosis.posterior, 10)
    rows = [(one_line(label), share) for label, share in shown]
    return [*rows, (f"{len(rest)} others", sum(rest))] if rest else rows


def case_row(neighbour: Neighbour) -> tuple[str, ...]:
    return one_line(neighbour.label), f"{neighbour.similarity:.3f}", source_name(neighbour.source)
