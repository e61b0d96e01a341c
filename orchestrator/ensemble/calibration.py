"""The registry of calibrators, and the choice among them.

Which kind an agent gets is decided by cross-validated log loss: the simplest that no other beats by more than a
standard error (Breiman et al. 1984). What an agent named counts on top of that: it may swap labels, or know some better
than others, and its probabilities do not tell. An agent that states labels has none to scale: see `confusion`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consilience.agents.base import one_hot
from consilience.agents.heads.model_selection import mean_and_error, soft_targets
from consilience.agents.ranking import ranked
from consilience.orchestrator.ensemble.confusion import ConfusionMatrix
from consilience.orchestrator.ensemble.dirichlet import likeliest_count
from consilience.orchestrator.ensemble.scaling import (
    Calibrator,
    ConfidenceDiscount,
    ConfusionScaling,
    FirmVectorScaling,
    FittedCalibrator,
    HeadTemperatureScaling,
    IsotonicScaling,
    TemperatureScaling,
    VectorScaling,
    log_probabilities,
)

USUAL_IMAGES_OF_A_NAME = 8.0
"""For how many images it usually counts, in each cell of `ConfusionScaling`, that a label is true as often as the
probabilities say: for fewer of an agent that swaps labels, for more of others (`dirichlet.likeliest_count`)."""

CHOICES: tuple[type[FittedCalibrator], ...] = (TemperatureScaling, VectorScaling, IsotonicScaling)
"""Every calibrator of probabilities that can be fitted, the simplest first. A new one is one entry here."""

_OTHERS: tuple[type[Calibrator], ...] = (ConfusionScaling, ConfusionMatrix, ConfidenceDiscount)

CALIBRATORS: Mapping[str, type[Calibrator]] = {kind.kind: kind for kind in (*CHOICES, *_OTHERS)}
"""Every calibrator that a panel can hold, by kind: `to_dict` and `from_dict` know these and no others."""

FITTED: Mapping[str, type[FittedCalibrator]] = {kind.kind: kind for kind in CHOICES}
"""Those that `fit_calibrator` chooses from, the simplest first."""

FITTED_TO_HEADS: Mapping[str, type[FittedCalibrator]] = {**FITTED, HeadTemperatureScaling.kind: HeadTemperatureScaling}
"""The same, for heads on features."""

FITTED_TO_AGENTS: Mapping[str, type[FittedCalibrator]] = {
    kind.kind: kind for kind in (TemperatureScaling, FirmVectorScaling)
}
"""The same, for other agents: their evidence is added up, and with it what each calibrator learned from chance."""

ORDER_KEEPING: Mapping[str, type[FittedCalibrator]] = {kind.kind: kind for kind in CHOICES if kind.keeps_order}
"""Those after which a prediction still names the same label."""


def to_dict(calibrator: Calibrator) -> dict[str, Any]:
    """Return a calibrator as plain data: its kind and its parameters.

    Raises:
        ValueError: it is not in CALIBRATORS, so that it could not be read back.
    """
    if CALIBRATORS.get(calibrator.kind) is not type(calibrator):
        raise ValueError(f"{type(calibrator).__name__} is no entry of CALIBRATORS: it could not be read back")
    values = {key: to_dict(value) if key == "base" else value for key, value in vars(calibrator).items()}
    return {"kind": calibrator.kind, **values}


def from_dict(data: Mapping[str, Any]) -> Calibrator:
    """Restore what `to_dict` returned. Raises KeyError or TypeError if it is of no known kind or form."""
    values = {key: _as_tuples(value) for key, value in data.items() if key != "kind"}
    if "base" in values:
        values["base"] = from_dict(values["base"])
    return CALIBRATORS[data["kind"]](**values)


def _as_tuples(value: Any) -> Any:
    """Return lists, also within lists, as tuples."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def states_labels(probabilities: np.ndarray) -> bool:
    """Return whether each row of (n, c) is a label, a label and one number, or several labels (`confusion`).

    >>> states_labels(np.array([[0.8, 0.1, 0.1], [0.0, 0.0, 1.0], [2 / 3, 0.0, 1 / 3]]))
    True
    """
    of_one = probabilities[~ranked(probabilities)]
    return states_one_number(of_one) or bool(((of_one == 0) | (of_one == 1)).all())


def states_one_number(probabilities: np.ndarray) -> bool:
    """Return whether each row of (n, c) gives one label its confidence, and all others the same share of the rest.

    Of two labels it is false: there any agent does, and the shifts of `VectorScaling` are enough.

    >>> states_one_number(np.array([[0.8, 0.1, 0.1], [0.0, 0.0, 1.0]]))
    True
    """
    others = np.sort(probabilities, axis=1)[:, :-1]
    return others.shape[1] > 1 and bool(np.ptp(others, axis=1).max(initial=0.0) < 1e-9)


def calibrate_all(raw: np.ndarray, calibrators: Sequence[Calibrator]) -> np.ndarray:
    """Return what each look's calibrator makes of its raw answers (a, n, c); rows of NaN or SILENT stay."""
    calibrated = raw.copy()
    for number, calibrator in enumerate(calibrators):
        answered = np.isfinite(raw[number]).all(axis=1)
        if answered.any():
            calibrated[number, answered] = calibrator(raw[number, answered])
    return calibrated


def fit_calibrator(
    probabilities: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    kinds: Mapping[str, type[FittedCalibrator]] = FITTED,
    *,
    by_name: bool = False,
) -> tuple[Calibrator, np.ndarray]:
    """Choose a calibrator by cross-validated log loss, and fit it.

    Args:
        probabilities: raw (n, c), each row from a fit that did not see its image.
        labels: int (n,).
        folds: int (n,), the fold of each image, for the cross-validation of the choice.
        kinds: what to choose from, the simplest first; others from their `least_images` on.
        by_name: whether what the agent named counts as well (`ConfusionScaling`), from the first image on, unless it
            clearly does worse.

    Returns:
        The calibrator fitted on all rows, and the calibrated rows (n, c), each from a calibrator of the
        chosen kind that was fitted on the other folds.
    """
    losses: dict[str, np.ndarray] = {}
    out_of_fold: dict[str, np.ndarray] = {}
    for name, kind in kinds.items():
        if losses and len(labels) < kind.least_images:
            continue
        calibrated = np.empty_like(probabilities)
        for fold in np.unique(folds):
            held_out = folds == fold
            calibrated[held_out] = kind.fit(probabilities[~held_out], labels[~held_out])(probabilities[held_out])
        out_of_fold[name] = calibrated
        losses[name] = _losses(calibrated, labels)
    best, *others = losses  # the simplest first
    for name in others:
        gain, error = mean_and_error(losses[best] - losses[name])
        if gain > error:
            best = name
    base = kinds[best].fit(probabilities, labels)
    if not by_name:
        return base, out_of_fold[best]
    return _with_confusion(base, out_of_fold[best], probabilities, labels, folds)


def _with_confusion(
    base: Calibrator, expected: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> tuple[Calibrator, np.ndarray]:
    """Return a calibrator by what was named, over another, and its rows out of fold, unless that one does better.

    Args:
        expected: what `base` says, out of fold, (n, c).
    """
    c, named, rows = expected.shape[1], probabilities.argmax(axis=1), np.empty_like(expected)
    of_named = one_hot(named, c).T
    images = likeliest_count(of_named @ one_hot(labels, c), of_named @ expected, USUAL_IMAGES_OF_A_NAME)
    for fold in np.unique(folds):
        here = folds == fold
        others = ConfusionScaling.over(base, expected[~here], named[~here], labels[~here], images)
        rows[here] = others.shifted(expected[here], named[here])
    worse, error = mean_and_error(_losses(rows, labels) - _losses(expected, labels))
    if worse > error:
        return base, expected
    return ConfusionScaling.over(base, expected, named, labels, images), rows


def _losses(calibrated: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the log loss of each row of (n, c) for the softened target of its label, (n,)."""
    return np.asarray(-(soft_targets(labels, calibrated.shape[1]) * log_probabilities(calibrated)).sum(axis=1))
