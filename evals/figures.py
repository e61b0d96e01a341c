"""`metrics.json`: everything that is measured of an evaluation. Version 1.

    format, written_by            version of this form; who wrote it
    labels                        the task's, in its order
    images                        rows in all = n + errors + left_out
    n, errors                     with a diagnosis; without one
    leaks, left_out               images that the panel has learned from; those of them that were dropped
    fusion                        figures of the panel's posterior, see `Figures`; null with --agents-only
    agents                        figures of each agent's look, first looks first
    best_agent                    the first look that is right about the most images
    difference                    fusion against the best agent, on the images that both answered: see `metrics.Paired`
    settled                       n, share, right, accuracy with `low` and `high`: images whose verdict is "confident"
    prediction_sets               n, covered, coverage with `low` and `high`: images whose set holds their label;
                                  mean_size: labels in a set
    novelty                       known against novel images (`evaluate --novel`), see `novelty.KnownNovel`; or null
    second_looks                  images that a second look answered; by agent, and for the fusion, what that changed:
                                  n, changed, better (wrong before, right after), worse; the fusion's is null where
                                  the posterior before is not known
    cost_usd, cost_usd_per_image  what agents' answers cost
    seconds, images_per_second    wall time of deciding, over all runs that it took
    rounds                        mean number of times that an image was weighed

A figure that is not defined is null. Intervals are 95 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from consilience.core.prediction import look_name
from consilience.evals import metrics
from consilience.evals.answer_columns import AnswerColumns, Collected, Raw, Spoken, joined
from consilience.evals.metrics import Paired, PairedChange
from consilience.evals.novelty_detection import KnownNovel
from consilience.evals.scores import FUSION, accuracy_interval
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error, score_columns

FORMAT = 1


@dataclass(frozen=True)
class BeforeCalibration:
    """How honest an agent was before calibration: see `Figures`."""

    accuracy: float | None
    ece: float
    ece_adaptive: float
    reliability: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Figures:
    """How one agent's look, calibrated, or the fusion did on the images that it answered.

    Attributes:
        who: the look in words, or "fusion". agent, stage: None for the fusion.
        n: images that it answered; abstained, errors: those of the images that it was asked about that it did not.
        accuracy: [0, 1], with its interval `low` to `high` (Wilson 1927).
        macro_f1: mean F1 of the labels that images have.
        labels: by label n, precision, recall, f1. confusion: by true label, how often each was named.
        ece, ece_adaptive, ocr, ccc, brier, log_loss, auroc: see `metrics` and `orchestrator.trust`.
        reliability: bins of equal width: low, high, n, confidence, accuracy; those that hold images.
        risk_coverage: threshold, coverage, risk, at most 200 points; `aurc` is the area below the whole curve.
        raw: the same agent before calibration; None for the fusion.
        weight: mean share of the weight where it was asked, [0, 1]; None for the fusion.
        cost_usd, seconds, tokens: what its answers took, together. An agent that answers images in batches counts
            each image's share.
    """

    who: str
    agent: str | None
    stage: str | None
    n: int
    abstained: int
    errors: int
    accuracy: float | None
    low: float
    high: float
    macro_f1: float | None
    labels: Mapping[str, Mapping[str, float | None]]
    confusion: Mapping[str, Mapping[str, int]]
    ece: float
    ece_adaptive: float
    ocr: float
    ccc: float
    brier: float | None
    log_loss: float | None
    auroc: float | None
    aurc: float | None
    reliability: Mapping[str, Sequence[float]]
    risk_coverage: Mapping[str, Sequence[float]]
    raw: BeforeCalibration | None = None
    weight: float | None = None
    cost_usd: float = 0.0
    seconds: float = 0.0
    tokens: int = 0


@dataclass(frozen=True)
class Settled:
    """Images whose verdict is "confident"."""

    n: int
    share: float | None
    right: int
    accuracy: float | None
    low: float
    high: float


@dataclass(frozen=True)
class PredictionSets:
    """How many of the prediction sets hold the true label, and how large they are."""

    n: int
    covered: int
    coverage: float | None
    low: float
    high: float
    mean_size: float | None


@dataclass(frozen=True)
class SecondLookMetrics:
    """What looking again changed."""

    images: int
    agents: Mapping[str, PairedChange]
    fusion: PairedChange | None


@dataclass(frozen=True)
class EvaluationMetrics:
    """Everything that is measured; the attributes are explained at the top of this module."""

    labels: tuple[str, ...]
    images: int
    n: int
    errors: int
    leaks: int
    left_out: int
    fusion: Figures | None
    agents: tuple[Figures, ...]
    best_agent: str | None
    difference: Paired | None
    settled: Settled | None
    prediction_sets: PredictionSets | None
    novelty: KnownNovel | None
    second_looks: SecondLookMetrics
    cost_usd: float
    cost_usd_per_image: float | None
    seconds: float
    images_per_second: float | None
    rounds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what `metrics.json` holds."""
        written_by = f"consilience {version('consilience')}"
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return {"format": FORMAT, "written_by": written_by, **plain}


def measure(
    collected: Collected, labels: Sequence[str], *, agents_only: bool = False, novelty: KnownNovel | None = None
) -> EvaluationMetrics:
    """All figures of an evaluation.

    Args:
        novelty: known against novel images, where there are such.
        agents_only: the fusion is not judged.
    """
    names = tuple(labels)
    looks = {look: (spoken, joined(AnswerColumns, spoken.calibrated)) for look, spoken in collected.looks.items()}
    agents = tuple(_of_look(*look, *answers, names) for look, answers in looks.items())
    first = {figures.who: looks[look] for look, figures in zip(looks, agents, strict=True) if look[1] == "first"}
    best = max(first, key=lambda who: int(first[who][1].correct.sum()), default=None)
    n = collected.images - collected.errors - collected.left_out
    judged = None if agents_only else collected.fusion
    return EvaluationMetrics(
        labels=names,
        images=collected.images,
        n=n,
        errors=collected.errors,
        leaks=collected.leaks,
        left_out=collected.left_out,
        fusion=None if judged is None else _figures(FUSION, judged, names),
        agents=agents,
        best_agent=best,
        difference=None if judged is None or best is None else _paired(judged, first[best][1]),
        settled=None if judged is None else settled_of(judged.correct, collected.settled),
        prediction_sets=None if judged is None else sets_of(collected.held, collected.sizes),
        novelty=novelty,
        second_looks=_second_looks(looks, collected),
        cost_usd=collected.cost_usd,
        cost_usd_per_image=collected.cost_usd / n if n else None,
        seconds=collected.seconds,
        images_per_second=collected.images / collected.seconds if collected.seconds else None,
        rounds=collected.rounds / n if n else None,
    )


def _of_look(agent: str, stage: Any, spoken: Spoken, answers: AnswerColumns, names: tuple[str, ...]) -> Figures:
    raw = joined(Raw, spoken.raw)
    return _figures(
        look_name(agent, stage),
        answers,
        names,
        agent=agent,
        stage=stage,
        abstained=spoken.abstained,
        errors=spoken.errors,
        raw=BeforeCalibration(
            float(raw.correct.mean()) if len(raw) else None,
            expected_calibration_error(raw.confidence, raw.correct),
            metrics.adaptive_calibration_error(raw.confidence, raw.correct),
            _reliability(raw),
        ),
        weight=spoken.weight / spoken.asked if spoken.asked else None,
        cost_usd=spoken.cost_usd,
        seconds=spoken.seconds,
        tokens=spoken.tokens,
    )


def _figures(
    who: str,
    answers: AnswerColumns,
    names: tuple[str, ...],
    *,
    agent: str | None = None,
    stage: str | None = None,
    abstained: int = 0,
    errors: int = 0,
    **more: Any,
) -> Figures:
    correct, confidence = answers.correct, answers.confidence
    scores = score_columns(confidence, correct, answers.squared, answers.of_truth)
    low, high = accuracy_interval(int(correct.sum()), scores.n)
    confusion = metrics.confusion(answers.truth, answers.named, len(names))
    each = metrics.per_label(confusion)
    columns = {name: map(_defined, getattr(each, name).tolist()) for name in ("n", "precision", "recall", "f1")}
    curve = metrics.risk_coverage(confidence, correct)
    shown = curve.thinned()
    return Figures(
        who=who,
        agent=agent,
        stage=stage,
        n=scores.n,
        abstained=abstained,
        errors=errors,
        accuracy=scores.accuracy,
        low=low,
        high=high,
        macro_f1=metrics.macro_f1(each),
        labels={
            name: dict(zip(columns, values, strict=True))
            for name, *values in zip(names, *columns.values(), strict=True)
        },
        confusion=metrics.by_name(confusion, names),
        ece=scores.ece,
        ece_adaptive=metrics.adaptive_calibration_error(confidence, correct),
        ocr=scores.ocr,
        ccc=scores.ccc,
        brier=scores.brier,
        log_loss=scores.log_loss,
        auroc=metrics.confidence_auroc(confidence, correct),
        aurc=curve.area,
        reliability=_reliability(answers),
        risk_coverage={name: getattr(shown, name).tolist() for name in ("threshold", "coverage", "risk")},
        **more,
    )


def _reliability(answers: AnswerColumns | Raw) -> dict[str, list[float]]:
    bins = metrics.binned(answers.confidence, answers.correct, metrics.equal_width())
    return {name: getattr(bins, name).tolist() for name in ("low", "high", "n", "confidence", "accuracy")}


def settled_of(correct: np.ndarray, settled: np.ndarray) -> Settled:
    """From whether each image was right, and whether it was settled, bool (n,)."""
    n, right = int(settled.sum()), int(correct[settled].sum())
    return Settled(
        n, n / len(settled) if len(settled) else None, right, right / n if n else None, *accuracy_interval(right, n)
    )


def sets_of(held: np.ndarray, sizes: np.ndarray) -> PredictionSets:
    """From whether each set holds the true label, bool (n,), and its size, int (n,)."""
    n, covered = len(held), int(held.sum())
    mean = float(sizes.mean()) if n else None
    return PredictionSets(n, covered, covered / n if n else None, *accuracy_interval(covered, n), mean)


def _second_looks(
    looks: Mapping[tuple[str, str], tuple[Spoken, AnswerColumns]], collected: Collected
) -> SecondLookMetrics:
    agents, again = {}, np.empty(0, np.int64)
    for (agent, stage), (_, after) in looks.items():
        if stage != "second":
            continue
        asked = after.rows
        again = np.union1d(again, asked)
        if (agent, "first") in looks:
            agents[agent] = _change(looks[agent, "first"][1], after, asked)
    return SecondLookMetrics(
        len(again), agents, _change(collected.before, collected.fusion, again) if len(collected.before) else None
    )


def _change(before: AnswerColumns, after: AnswerColumns, rows: np.ndarray) -> PairedChange:
    """On those of the rows that both answered."""
    common, was, now = _common(before, after)
    among = np.isin(common, rows)
    return metrics.change(before.truth[was][among], before.named[was][among], after.named[now][among])


def _paired(first: AnswerColumns, second: AnswerColumns) -> Paired | None:
    _, here, there = _common(first, second)
    return metrics.paired(first.correct[here], second.correct[there])


def _common(first: AnswerColumns, second: AnswerColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that both answered, and where they stand in each."""
    common: tuple[np.ndarray, np.ndarray, np.ndarray] = np.intersect1d(
        first.rows, second.rows, assume_unique=True, return_indices=True
    )
    return common


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
