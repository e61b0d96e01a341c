"""What a fit would have looked like if the images of one group had stood on both sides of every split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from consilience.agents.heads.folds import is_grouped
from consilience.orchestrator.ensemble.calibration import FITTED_TO_HEADS
from consilience.orchestrator.ensemble.cross_fitting import fusions_of_others, out_of_fold, split_into_folds
from consilience.orchestrator.fitting.collect import MemberAnswers
from consilience.orchestrator.fitting.expected_errors import error_prior_of
from consilience.orchestrator.fitting.fit_context import FitContext
from consilience.orchestrator.fitting.fit_ensemble import (
    FittedEnsemble,
    answered_by_any,
    first_looks,
    in_order,
    judge_all,
)
from consilience.orchestrator.runtime.blas_threads import one_blas_thread


def accuracy_without_groups(fitted: FittedEnsemble, context: FitContext) -> float | None:
    """Return the accuracy that folds drawn image by image show, in [0, 1]; None where no two images are of one group.

    It is no figure to rely on: it shows how much of the apparent accuracy comes from second views of the same things.
    """
    if not is_grouped(context.data.groups) or not len(fitted.calibration_set.labels):
        return None
    labels, task = context.data.labels, context.task
    data = replace(context.data, groups=np.arange(len(labels)))
    folds, heads = split_into_folds(labels, context.seed), {head.name for head in fitted.heads}
    with one_blas_thread():
        raw: dict[str, np.ndarray] = {}
        for name in sorted(heads):
            context.progress("comparing without groups", len(raw), len(heads))
            raw[name] = out_of_fold(name, task, data, folds)
        looks = [MemberAnswers(name, "first", answers, calibrators=FITTED_TO_HEADS) for name, answers in raw.items()]
        looks = in_order([*looks, *(look for look in fitted.looks if look.agent not in heads)])
        members, calibrated = judge_all(looks, labels, folds, task)
        first, prior = first_looks(members, calibrated), error_prior_of([look.agent for look in looks], len(labels))
        named = np.empty_like(labels)
        for held_out, others in fusions_of_others(calibrated, labels, folds, spoken=first, prior=prior):
            named[held_out] = others.posterior(first[:, held_out])[0].argmax(axis=1)
    context.progress("comparing without groups", len(heads), len(heads))
    return float((named == labels)[answered_by_any(first)].mean())
