"""Figures of a panel as images get worse: `metrics.json` of `consilience stress`. Version 1.

    format, written_by  version of this form; who wrote it
    labels              the task's, in its order
    target              the share of settled images that was to be right
    answer              whether the panel refers more, rather than being wrong with confidence, in a sentence
    conditions          the clean images, then each corruption (corruptions.py) at each strength, see `Condition`

After Tu, Deng and Gedeon 2024, Toward a Holistic Evaluation of Robustness in CLIP Models (arXiv 2410.01534): not only
how often a model is right under a shift, but whether it stays calibrated and knows that something is new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from consilience.core.errors import EvaluationError
from consilience.core.render.phrases import percent
from consilience.evals.evaluation import Evaluation
from consilience.evals.figures import EvaluationMetrics, Settled
from consilience.evals.robustness.corruptions import CORRUPTIONS, STRENGTHS
from consilience.evals.rows import read_rows
from consilience.evals.scores import accuracy_interval

FORMAT = 1

CLEAN = "clean"


@dataclass(frozen=True)
class Seen:
    """What was done to the images: nothing, or one corruption at one strength, 1 to 5."""

    corruption: str = CLEAN
    strength: int = 0

    def __str__(self) -> str:
        """
        >>> str(Seen()), str(Seen("noise", 3))
        ('clean', 'noise-3')
        """
        return f"{self.corruption}-{self.strength}" if self.strength else self.corruption


def all_ways() -> Iterator[Seen]:
    """Yield the clean images, then every corruption at every strength."""
    yield Seen()
    for corruption in CORRUPTIONS:
        for strength in STRENGTHS:
            yield Seen(corruption, strength)


@dataclass(frozen=True)
class Condition:
    """How the panel did on all images, made worse in one way. A figure that is not defined is None.

    Attributes:
        n, errors: images with a diagnosis; without one.
        accuracy, low, high, ece: of the fusion, see `figures.Figures`.
        settled: images whose verdict is "confident", see `figures.Settled`.
        referred: share of the others, [0, 1].
        settled_wrong: share of all images that are settled and wrong, [0, 1], lower is better.
        novelty: mean novelty of the images; the higher, the further from what the panel knows.
        agents: by look: n, accuracy, ece.
    """

    corruption: str
    strength: int
    n: int
    errors: int
    accuracy: float | None
    low: float
    high: float
    ece: float | None
    settled: Settled
    referred: float | None
    settled_wrong: float | None
    novelty: float | None
    agents: Mapping[str, Mapping[str, float | None]]


def condition(seen: Seen, metrics: EvaluationMetrics, folder: Path) -> Condition:
    """Return the figures of the evaluation in `folder`, whose images were made worse as `seen` says.

    Raises:
        EvaluationError: only its agents were judged, or its rows cannot be read.
    """
    fusion, settled = metrics.fusion, metrics.settled
    if fusion is None or settled is None:
        raise EvaluationError(f"in '{folder}' only the agents were judged: evaluate without --agents-only")
    n = fusion.n
    return Condition(
        seen.corruption,
        seen.strength,
        n,
        metrics.errors,
        fusion.accuracy,
        fusion.low,
        fusion.high,
        fusion.ece,
        settled,
        1.0 - settled.n / n if n else None,
        (settled.n - settled.right) / n if n else None,
        _mean_novelty(folder, metrics.labels),
        {look.who: {"n": look.n, "accuracy": look.accuracy, "ece": look.ece} for look in metrics.agents},
    )


def _mean_novelty(folder: Path, labels: Sequence[str]) -> float | None:
    import pyarrow.compute as pc

    total, n = 0.0, 0
    for batch in read_rows(folder, labels, ("novelty",)):
        novelty = batch["novelty"].drop_null()
        total, n = total + (pc.sum(novelty).as_py() or 0.0), n + len(novelty)
    return total / n if n else None


def _settled_wrong(condition: Condition) -> float:
    return condition.settled_wrong or 0.0


def _referred(condition: Condition) -> float:
    return condition.referred or 0.0


@dataclass(frozen=True)
class Robustness:
    """A panel as images get worse.

    Attributes:
        out: the folder that holds an evaluation for each condition, and the figures.
        clean: the evaluation of the images as they are.
        target: the share of settled images that was to be right.
        conditions: that of the clean images first; see `all_ways`.
    """

    out: Path
    clean: Evaluation
    target: float
    conditions: tuple[Condition, ...]

    def course(self, corruption: str) -> tuple[Condition, ...]:
        """Return the conditions of one corruption, from the clean images to strength 5."""
        return (self.conditions[0], *(condition for condition in self.conditions if condition.corruption == corruption))

    def answer(self) -> str:
        """Return two sentences: does the panel refer more as images get worse, rather than be wrong with confidence?

        Not, where under some corruption, at any strength, more images are settled and wrong than chance explains beside
        the clean ones: where their share is above the 95 % interval (Wilson 1927) of the clean images' share.
        """
        clean, decided = self.conditions[0], [condition for condition in self.conditions[1:] if condition.n]
        strongest = [condition for condition in decided if condition.strength == STRENGTHS[-1]]
        if not clean.n or not strongest:
            return "No answer: the clean images, or the corrupted ones, could not be decided."
        bound = accuracy_interval(clean.settled.n - clean.settled.right, clean.n)[1]
        over = [condition for condition in decided if _settled_wrong(condition) > bound]
        worst = {condition.corruption: condition for condition in sorted(over, key=_settled_wrong)}
        named = ", ".join(
            f"{condition.corruption} ({percent(_settled_wrong(condition))} at strength {condition.strength})"
            for condition in sorted(worst.values(), key=_settled_wrong, reverse=True)
        )
        verdict = (
            f"The panel is wrong with confidence more often under {named}."
            if over
            else "As images get worse, the panel is not wrong with confidence more often."
        )
        return (
            f"{verdict} From clean images to strength 5, as a mean over the corruptions: settled and wrong "
            f"{percent(_settled_wrong(clean))} to {percent(fmean(map(_settled_wrong, strongest)))} of the images, "
            f"referred to a person {percent(_referred(clean))} to {percent(fmean(map(_referred, strongest)))}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what `metrics.json` holds."""
        plain = {
            "format": FORMAT,
            "written_by": f"consilience {version('consilience')}",
            "labels": self.clean.metrics.labels,
            "target": self.target,
            "answer": self.answer(),
            "conditions": [asdict(condition) for condition in self.conditions],
        }
        data: dict[str, Any] = json.loads(json.dumps(plain, allow_nan=False))
        return data
