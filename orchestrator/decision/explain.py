"""The default reasoner: plain words from the figures, by rules. It reads records, never pixels, and invents nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilience.core.prediction import Stage, look_name
from consilience.core.render.phrases import percent
from consilience.core.trust import Trust
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.prompts import clean


def explain(
    conclusion: Mapping[str, Any],
    evidence: Mapping[str, Any],
    trusts: Sequence[Trust],
    requests: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Why a diagnosis came out as it did: who said what, how much each counts, what the evidence shows, what changed.

    Args:
        conclusion: label, posterior, verdict, reasons and predictions, as in a `Diagnosis`.
        evidence: as `Evidence.to_dict`.
        trusts: of every look that can be weighed.
        requests: for second looks, as the graph's state has them.
    """
    label, posterior = conclusion["label"], conclusion["posterior"]
    sentences = [f"Most likely {label}, {percent(posterior[label])}."]
    answered = [prediction for prediction in conclusion["predictions"] if prediction["calibrated"] is not None]
    total = sum(prediction["weight"] for prediction in answered) or 1.0
    measured = {(trust.agent, trust.stage): trust for trust in trusts}
    agree = [prediction for prediction in answered if prediction["label"] == label]
    differ = [prediction for prediction in answered if prediction["label"] != label]
    if agree:
        sentences.append("For it: " + _list(agree, total, measured) + ".")
    if differ:
        sentences.append("Against it: " + _list(differ, total, measured) + ".")
    sentences += _silent(conclusion["predictions"])
    sentences += [
        f"{request['agent']} was asked to look again: going by labelled images, that improves "
        f"{percent(request['better'])} of such diagnoses and worsens {percent(request['worse'])}."
        for request in requests
        if request["better"] is not None
    ]
    sentences += [
        f"{request['agent']} was asked to look again, as the reasoner wished: {request['why'].rstrip('.')}."
        for request in requests
        if request["why"]
    ]
    sentences += _changes(conclusion["predictions"])
    sentences += _evidence(evidence)
    sentences += _reasoner(conclusion["predictions"])
    if conclusion["verdict"] == "refer":
        sentences.append("A person should look. " + ". ".join(conclusion["reasons"]) + ".")
    return " ".join(sentences)


def _list(predictions: Sequence[Mapping[str, Any]], total: float, trusts: Mapping[tuple[str, Stage], Trust]) -> str:
    parts = []
    for prediction in sorted(predictions, key=lambda p: -p["weight"]):
        trust = trusts[prediction["agent"], prediction["stage"]]
        record = "" if trust.accuracy is None else f", right on {percent(trust.accuracy)} of {trust.n} labelled images"
        named = max(prediction["calibrated"], key=prediction["calibrated"].__getitem__)
        parts.append(
            f"{look_name(prediction['agent'], prediction['stage'])} "
            f"({named} {percent(prediction['calibrated'][named])}, "
            f"{percent(prediction['weight'] / total)} of the weight{record})"
        )
    return ", ".join(parts)


def not_used(cause: str) -> str:
    """That a reasoner failed, or contradicted the record."""
    return f"The reasoner was not used: {clean(cause)}."


def _reasoner(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reasoner's last word was, where it is not weighed as one of the agents."""
    for prediction in reversed(predictions):
        if prediction["agent"] == REASONER and prediction["error"] is not None:
            return [not_used(prediction["error"])]
        if prediction["agent"] == REASONER and prediction["calibrated"] is None:
            return [f"The reasoner decided for {prediction['label']}: {prediction['rationale'].rstrip('.')}."]
    return []


def _silent(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = [
        look_name(prediction["agent"], prediction["stage"])
        for prediction in predictions
        if prediction["error"] is not None and prediction["agent"] != REASONER
    ]
    abstained = [
        look_name(prediction["agent"], prediction["stage"]) for prediction in predictions if prediction["abstained"]
    ]
    return [
        *([f"Failed and not counted: {', '.join(failed)}."] if failed else []),
        *([f"Abstained: {', '.join(abstained)}."] if abstained else []),
    ]


def _changes(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    first = {prediction["agent"]: prediction["label"] for prediction in predictions if prediction["stage"] == "first"}
    sentences = []
    for prediction in predictions:
        if prediction["stage"] == "second" and prediction["label"] is not None:
            before = first.get(prediction["agent"])
            changed = (
                f"changed from {before} to {prediction['label']}"
                if before != prediction["label"]
                else f"stayed with {before}"
            )
            sentences.append(f"In the second look {prediction['agent']} {changed}.")
    return sentences


def _evidence(evidence: Mapping[str, Any]) -> list[str]:
    labels = [neighbour["label"] for neighbour in evidence["neighbours"]]
    if not labels:
        return []
    counts = sorted({label: labels.count(label) for label in labels}.items(), key=lambda item: -item[1])
    counted = ", ".join(f"{count} {label}" for label, count in counts)
    return [f"Of the {len(labels)} most similar known images: {counted}."]
