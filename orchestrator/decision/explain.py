"""The default reasoner: plain words from the figures, by rules. It reads records, never pixels, and invents nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilience.core.prediction import Stage, look_name
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
    sentences = [f"{label} has a posterior of {posterior[label]:.1%}."]
    answered = [one for one in conclusion["predictions"] if one["calibrated"] is not None]
    total = sum(one["weight"] for one in answered) or 1.0
    measured = {(trust.agent, trust.stage): trust for trust in trusts}
    agree = [one for one in answered if one["label"] == label]
    differ = [one for one in answered if one["label"] != label]
    if agree:
        sentences.append("For it: " + _list(agree, total, measured) + ".")
    if differ:
        sentences.append("Against it: " + _list(differ, total, measured) + ".")
    sentences += _silent(conclusion["predictions"])
    sentences += [
        f"{one['agent']} was asked to look again: judged by labelled images, that makes this diagnosis better with a "
        f"chance of {one['better']:.0%}, and worse with {one['worse']:.0%}."
        for one in requests
        if one["better"] is not None
    ]
    sentences += [
        f"{one['agent']} was asked to look again, as the reasoner wished: {one['why'].rstrip('.')}."
        for one in requests
        if one["why"]
    ]
    sentences += _changes(conclusion["predictions"])
    sentences += _evidence(evidence)
    sentences += _reasoner(conclusion["predictions"])
    if conclusion["verdict"] == "refer":
        sentences.append("A person should look: " + "; ".join(conclusion["reasons"]) + ".")
    return " ".join(sentences)


def _list(predictions: Sequence[Mapping[str, Any]], total: float, trusts: Mapping[tuple[str, Stage], Trust]) -> str:
    parts = []
    for one in sorted(predictions, key=lambda one: -one["weight"]):
        trust = trusts[one["agent"], one["stage"]]
        record = "" if trust.accuracy is None else f", right on {trust.accuracy:.0%} of {trust.n} labelled images"
        said = max(one["calibrated"], key=one["calibrated"].__getitem__)
        parts.append(
            f"{look_name(one['agent'], one['stage'])} ({said} {one['calibrated'][said]:.0%}, "
            f"{one['weight'] / total:.0%} of the weight{record})"
        )
    return ", ".join(parts)


def not_used(cause: str) -> str:
    """That a reasoner failed, or contradicted the record."""
    return f"The reasoner was not used: {clean(cause)}."


def _reasoner(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reasoner's last word was, where it is not weighed as one of the agents."""
    for one in reversed(predictions):
        if one["agent"] == REASONER and one["error"] is not None:
            return [not_used(one["error"])]
        if one["agent"] == REASONER and one["calibrated"] is None:
            return [f"The reasoner decided for {one['label']}: {one['rationale'].rstrip('.')}."]
    return []


def _silent(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = [
        look_name(one["agent"], one["stage"])
        for one in predictions
        if one["error"] is not None and one["agent"] != REASONER
    ]
    abstained = [look_name(one["agent"], one["stage"]) for one in predictions if one["abstained"]]
    return [
        *([f"Failed and not counted: {', '.join(failed)}."] if failed else []),
        *([f"Abstained: {', '.join(abstained)}."] if abstained else []),
    ]


def _changes(predictions: Sequence[Mapping[str, Any]]) -> list[str]:
    first = {one["agent"]: one["label"] for one in predictions if one["stage"] == "first"}
    sentences = []
    for one in predictions:
        if one["stage"] == "second" and one["label"] is not None:
            before = first.get(one["agent"])
            changed = f"changed from {before} to {one['label']}" if before != one["label"] else f"stayed with {before}"
            sentences.append(f"In the second look {one['agent']} {changed}.")
    return sentences


def _evidence(evidence: Mapping[str, Any]) -> list[str]:
    labels = [neighbour["label"] for neighbour in evidence["neighbours"]]
    if not labels:
        return []
    counts = sorted({label: labels.count(label) for label in labels}.items(), key=lambda item: -item[1])
    said = ", ".join(f"{count} {label}" for label, count in counts)
    return [f"Of the {len(labels)} most similar known images: {said}."]
