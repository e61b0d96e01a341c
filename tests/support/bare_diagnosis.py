"""A diagnosis that holds what a test is about, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from consilience.core.diagnosis import Diagnosis
from consilience.core.diagnosis_record import Verdict
from consilience.core.evidence import Evidence
from consilience.core.prediction import Prediction


def bare_diagnosis(
    label: str,
    posterior: Mapping[str, float],
    prediction_set: tuple[str, ...],
    verdict: Verdict = "confident",
    predictions: tuple[Prediction, ...] = (),
) -> Diagnosis:
    """Return a diagnosis of one round without evidence, reasons, identity and source."""
    return Diagnosis(
        label=label,
        posterior=posterior,
        prediction_set=prediction_set,
        verdict=verdict,
        reasons=(),
        predictions=predictions,
        evidence=Evidence((), {}),
        novelty=0.0,
        rationale="",
        rounds=1,
        seconds=0.0,
        cost_usd=0.0,
        identity="",
        source="",
    )
