"""The default reasoner: plain words from the figures, by rules. It reads records, never pixels, and invents nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilience.core.diagnosis_record import Conclusion
from consilience.core.prediction import Prediction, Stage, look_name
from consilience.core.render.phrases import percent
from consilience.core.trust import Trust
from consilience.orchestrator.decision.case_summary import REASONER
from consilience.prompts import clean

ESTIMATED = "Trust is estimated from how far the agents agree, and not measured: agents that err together look right."
"""Said of each diagnosis of a panel that was fitted without truth."""


def explain(
    conclusion: Conclusion,
    evidence: Mapping[str, Any],
    trusts: Sequence[Trust],
    requests: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return why a diagnosis came out as it did: who predicted what, how much each counts, what the evidence shows.

    Args:
        conclusion: its rationale is not read.
        evidence: as `Evidence.to_dict`.
        trusts: of every look that can be weighed.
        requests: for second looks, as the graph's state has them.
    """
    label, predictions = conclusion.label, conclusion.predictions
    sentences = [_opening(conclusion)]
    counted = [prediction for prediction in predictions if prediction.calibrated is not None]
    total = sum(prediction.weight or 0.0 for prediction in counted) or 1.0
    measured = {(trust.agent, trust.stage): trust for trust in trusts}
    agree = [prediction for prediction in counted if prediction.counted_label == label]
    differ = [prediction for prediction in counted if prediction.counted_label != label]
    if agree:
        sentences.append("For it: " + _list(agree, total, measured) + ".")
    if differ:
        sentences.append("Against it: " + _list(differ, total, measured) + ".")
    sentences += _silent(predictions)
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
    sentences += _changes(predictions)
    sentences += _evidence(evidence)
    sentences += _reasoner(predictions)
    if any(trust.estimated_on for trust in trusts):
        sentences.append(ESTIMATED)
    return " ".join([*sentences, *person_needed(conclusion)])


def person_needed(conclusion: Conclusion) -> list[str]:
    """Return why a person should look, as one text; nothing where the diagnosis is settled."""
    return [] if conclusion.verdict != "refer" else ["A person should look. " + ". ".join(conclusion.reasons) + "."]


def in_its_words(rationale: str) -> str:
    """Return what a language model wrote, marked as that: it is a claim, and not the product's."""
    return f"In the language model's words: “{rationale.replace('”', '’').strip()}”"


def _opening(conclusion: Conclusion) -> str:
    """Return what the diagnosis says; a label that it does not claim is named as what it is."""
    label, posterior = conclusion.label, conclusion.posterior
    top = max(posterior, key=posterior.__getitem__)
    named = f"ost likely {label}, {percent(conclusion.probability)}."
    if conclusion.expected_cost is not None and posterior[label] != posterior[top]:
        named = (
            f"ost likely {top}, {percent(posterior[top])}; but to say {label}, {percent(conclusion.probability)}, is "
            f"expected to cost least: {conclusion.expected_cost:.3g}."
        )
    if conclusion.unjudgeable:
        return f"{conclusion.unjudgeable.rstrip('.')}. As it is, m{named}"
    return f"Perhaps none of these; if it is one, m{named}" if conclusion.is_novel else f"M{named}"


def _list(predictions: Sequence[Prediction], total: float, trusts: Mapping[tuple[str, Stage], Trust]) -> str:
    parts = []
    for prediction in sorted(predictions, key=lambda p: -(p.weight or 0.0)):
        trust, calibrated = trusts[prediction.agent, prediction.stage], prediction.calibrated or {}
        named = prediction.counted_label or ""
        parts.append(
            f"{look_name(prediction.agent, prediction.stage)} ({named} {percent(calibrated[named])}, "
            f"{percent((prediction.weight or 0.0) / total)} of the weight{_record(trust)})"
        )
    return ", ".join(parts)


def _record(trust: Trust) -> str:
    if trust.accuracy is None:
        return ""
    if trust.estimated_on:
        return f", by agreement right on about {percent(trust.accuracy)}"
    return f", right on {percent(trust.accuracy)} of {trust.n} labelled images"


def not_used(cause: str) -> str:
    """Return a sentence that a reasoner failed, or contradicted the record."""
    return f"The reasoner was not used: {clean(cause)}."


def _reasoner(predictions: Sequence[Prediction]) -> list[str]:
    """Return a reasoner's last answer, where it is not weighed as one of the agents."""
    for prediction in reversed(predictions):
        if prediction.agent == REASONER and prediction.error is not None:
            return [not_used(prediction.error)]
        if prediction.agent == REASONER and prediction.calibrated is None:
            return [f"The reasoner decided for {prediction.label}. {in_its_words(prediction.rationale)}"]
    return []


def _silent(predictions: Sequence[Prediction]) -> list[str]:
    failed = [look_name(p.agent, p.stage) for p in predictions if p.error is not None and p.agent != REASONER]
    abstained = [look_name(p.agent, p.stage) for p in predictions if p.abstained]
    return [
        *([f"Failed and not counted: {', '.join(failed)}."] if failed else []),
        *([f"Abstained: {', '.join(abstained)}."] if abstained else []),
    ]


def _changes(predictions: Sequence[Prediction]) -> list[str]:
    first = {prediction.agent: prediction.label for prediction in predictions if prediction.stage == "first"}
    sentences = []
    for prediction in predictions:
        if prediction.stage == "second" and prediction.label is not None:
            before, now = first.get(prediction.agent), prediction.label
            changed = f"changed from {before} to {now}" if before != now else f"stayed with {before}"
            sentences.append(f"In the second look {prediction.agent} {changed}.")
    return sentences


def _evidence(evidence: Mapping[str, Any]) -> list[str]:
    labels = [neighbour["label"] for neighbour in evidence["neighbours"]]
    if not labels:
        return []
    counts = sorted({label: labels.count(label) for label in labels}.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{count} {label}" for label, count in counts)
    return [f"Of the {len(labels)} most similar known images: {listed}."]
