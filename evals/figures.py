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
    worth                         by label, where labels occur as in `decision.frequencies` (else as among the images):
                                  share, settled as it, right: of those in use the share that show it, with `low` and
                                  `high`, found: of its images the share settled as it
    costs                         what an image costs on average, in the unit of `decision.costs`: cost (a person asked
                                  where the panel refers), always, never (asking), most_probable; or null
    shift                         whether the images differ from the labelled ones, see `ShiftFound`; null: not compared
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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from consilience.evals.metrics import Paired, PairedChange
from consilience.evals.novelty_detection import KnownNovel
from consilience.evals.shift_check import ShiftFound
from consilience.orchestrator.in_use.costs import CostFigures
from consilience.orchestrator.in_use.worth import Worth

FORMAT = 1


@dataclass(frozen=True)
class BeforeCalibration:
    """How honest an agent was before calibration: see `Figures`."""

    accuracy: float | None
    ece: float | None
    ece_adaptive: float | None
    reliability: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Figures:
    """How one agent's look, calibrated, or the fusion did on the images that it answered.

    Attributes:
        who: the look in words, or "fusion". agent, stage: None for the fusion.
        n: images that it answered; abstained, errors: those of the images that it was asked about that it did not.
        cause: of most of its errors; None without any.
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
    ece: float | None
    ece_adaptive: float | None
    ocr: float | None
    ccc: float | None
    brier: float | None
    log_loss: float | None
    auroc: float | None
    aurc: float | None
    reliability: Mapping[str, Sequence[float]]
    risk_coverage: Mapping[str, Sequence[float]]
    cause: str | None = None
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
    worth: Mapping[str, Worth] | None
    costs: CostFigures | None
    shift: ShiftFound | None
    novelty: KnownNovel | None
    second_looks: SecondLookMetrics
    cost_usd: float
    cost_usd_per_image: float | None
    seconds: float
    images_per_second: float | None
    rounds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what `metrics.json` holds."""
        written_by = f"consilience {version('consilience')}"
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return {"format": FORMAT, "written_by": written_by, **plain}
