"""From the rows of an evaluation to its figures (`figures.EvaluationMetrics`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.core.prediction import look_name
from consilience.evals import metrics
from consilience.evals.answer_columns import AnswerColumns, Collected, LookAnswers, Raw, joined
from consilience.evals.figures import (
    BeforeCalibration,
    EvaluationMetrics,
    Figures,
    PredictionSets,
    SecondLookMetrics,
    Settled,
)
from consilience.evals.metrics import Paired, PairedChange
from consilience.evals.novelty_detection import KnownNovel
from consilience.evals.scores import FUSION, accuracy_interval
from consilience.evals.shift_check import ShiftFound
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error, score_columns
from consilience.orchestrator.in_use.costs import Costs
from consilience.orchestrator.in_use.worth import Worth, worth_of


def measure(
    collected: Collected,
    labels: Sequence[str],
    *,
    agents_only: bool = False,
    novelty: KnownNovel | None = None,
    shares: np.ndarray | None = None,
    costs: Costs | None = None,
    shift: ShiftFound | None = None,
) -> EvaluationMetrics:
    """Return all figures of an evaluation.

    Args:
        novelty: known against novel images, where there are such.
        agents_only: the fusion is not judged.
        shares: of the labels where the panel is used, float (c,); None: as among these images.
        costs: what mistakes and asking a person cost, if that is set.
        shift: whether the images differ from the labelled ones, if that was looked into.
    """
    names = tuple(labels)
    looks = {
        look: (look_answers, joined(AnswerColumns, look_answers.calibrated))
        for look, look_answers in collected.looks.items()
    }
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
        worth=None if judged is None else _worth(judged, collected.settled, names, shares),
        costs=None
        if judged is None or costs is None
        else costs.figures(judged.truth, judged.named, collected.most_probable, collected.settled),
        shift=shift,
        novelty=novelty,
        second_looks=_second_looks(looks, collected),
        cost_usd=collected.cost_usd,
        cost_usd_per_image=collected.cost_usd / n if n else None,
        seconds=collected.seconds,
        images_per_second=collected.images / collected.seconds if collected.seconds else None,
        rounds=collected.rounds / n if n else None,
    )


def _of_look(
    agent: str, stage: Any, look_answers: LookAnswers, answers: AnswerColumns, names: tuple[str, ...]
) -> Figures:
    raw = joined(Raw, look_answers.raw)
    return _figures(
        look_name(agent, stage),
        answers,
        names,
        agent=agent,
        stage=stage,
        abstained=look_answers.abstained,
        errors=look_answers.errors,
        cause=next((cause for cause, _ in look_answers.causes.most_common(1)), None),
        raw=BeforeCalibration(
            float(raw.correct.mean()) if len(raw) else None,
            expected_calibration_error(raw.confidence, raw.correct) if len(raw) else None,
            metrics.adaptive_calibration_error(raw.confidence, raw.correct) if len(raw) else None,
            _reliability(raw),
        ),
        weight=look_answers.weight / look_answers.asked if look_answers.asked else None,
        cost_usd=look_answers.cost_usd,
        seconds=look_answers.seconds,
        tokens=look_answers.tokens,
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
    is_known = scores.n > 0  # nothing is said of an agent that never answered
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
        ece=scores.ece if is_known else None,
        ece_adaptive=metrics.adaptive_calibration_error(confidence, correct) if is_known else None,
        ocr=scores.ocr if is_known else None,
        ccc=scores.ccc if is_known else None,
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
    """Return figures of the settled images, from whether each was right, and whether it was settled, bool (n,)."""
    n, right = int(settled.sum()), int(correct[settled].sum())
    return Settled(
        n, n / len(settled) if len(settled) else None, right, right / n if n else None, *accuracy_interval(right, n)
    )


def sets_of(held: np.ndarray, sizes: np.ndarray) -> PredictionSets:
    """Return figures of prediction sets, from whether each holds the true label, bool (n,), and its size, int (n,)."""
    n, covered = len(held), int(held.sum())
    mean = float(sizes.mean()) if n else None
    return PredictionSets(n, covered, covered / n if n else None, *accuracy_interval(covered, n), mean)


def _worth(
    answers: AnswerColumns, settled: np.ndarray, names: tuple[str, ...], shares: np.ndarray | None
) -> dict[str, Worth]:
    """By label, what it is worth that an image is settled as it, where labels occur in these shares."""
    counts = np.bincount(answers.truth, minlength=len(names))
    shares = counts / max(len(answers), 1) if shares is None else shares
    worths = worth_of(answers.truth, answers.named, settled, np.arange(len(answers)), shares)
    return dict(zip(names, worths, strict=True))


def _second_looks(
    looks: Mapping[tuple[str, str], tuple[LookAnswers, AnswerColumns]], collected: Collected
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
    """Return the rows that both answered, and where they stand in each."""
    common: tuple[np.ndarray, np.ndarray, np.ndarray] = np.intersect1d(
        first.rows, second.rows, assume_unique=True, return_indices=True
    )
    return common


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
