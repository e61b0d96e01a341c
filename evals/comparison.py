"""Evaluations side by side: who is better on the same images, by how much, and on which.

Images with one true label are the same if their identity is (equal pixels, or equal vectors), else if their name is:
so the same files can be compared after they were changed, as `stress` changes them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from consilience.core.errors import EvaluationError
from consilience.core.storage.json_text import parsed_json
from consilience.evals import metrics
from consilience.evals.answer_columns import collect
from consilience.evals.figures import Settled
from consilience.evals.measurement import settled_of
from consilience.evals.metrics import Paired, PairedChange
from consilience.evals.rows import ROWS_FILE, read_rows
from consilience.evals.run_log import RUN
from consilience.evals.scores import accuracy_interval
from consilience.orchestrator.ensemble.trust_metrics import expected_calibration_error

FORMAT = 1

MAX_NAMED_DIFFERENCES = 5
"""Images that are named of each kind, the first in the order of the rows."""

COLUMNS = ("row", "source", "identity", "truth", "label", "cost_usd")


@dataclass(frozen=True)
class Side:
    """How the fusion of one evaluation did on the images that all evaluations decided.

    Attributes:
        out: the evaluation's folder. panel: the identity of its panel.
        accuracy: [0, 1], with its 95 % interval `low` to `high` (Wilson 1927). ece: see `orchestrator.trust`.
        settled: images whose verdict is "confident".
        cost_usd: what the agents' answers on these images cost.
        apart: its other images: those that not all evaluations have, or that one of them could not decide.
            apart_named: a few of them.
        difference: accuracy less that of the first evaluation; `only_first` counts images that only this one has
            right. None for the first.
        change: what the first called otherwise; None for the first. better, worse: a few of those images, by name.
    """

    out: str
    panel: str
    accuracy: float
    low: float
    high: float
    ece: float
    settled: Settled
    cost_usd: float
    apart: int
    apart_named: tuple[str, ...]
    difference: Paired | None = None
    change: PairedChange | None = None
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Evaluations on the n images that all of them decided, in the order in which they were given."""

    labels: tuple[str, ...]
    n: int
    sides: tuple[Side, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as `consilience compare --json` prints it."""
        plain: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **asdict(self)}, allow_nan=False))
        return plain


@dataclass(frozen=True)
class _Opened:
    """Rows of one evaluation by the number that their image has among all evaluations; arrays in its own order (m,)."""

    out: Path
    panel: str
    names: list[str]
    image: np.ndarray
    answered: np.ndarray
    cost_usd: np.ndarray
    named: np.ndarray
    truth: np.ndarray
    confidence: np.ndarray
    settled: np.ndarray

    def places(self, images: np.ndarray) -> np.ndarray:
        """Return where these images stand, int (n,); all of them must be here."""
        order = np.argsort(self.image)
        places: np.ndarray = order[np.searchsorted(self.image, images, sorter=order)]
        return places


class _Numbers:
    """Gives each image a number, the same to the same image in whichever evaluation it stands."""

    def __init__(self) -> None:
        self._by_identity: dict[Hashable, int] = {}
        self._by_name: dict[Hashable, int] = {}
        self._new = count()

    def of(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the number of each row's image, for the rows of one evaluation; an image in it twice is two images."""
        keys = list(_keys(rows))
        known = [self._by_identity.get(identity) for identity, _ in keys]
        taken = set(known)
        numbers = []
        for (identity, name), number in zip(keys, known, strict=True):
            if number is None:
                number = self._by_name.get(name)
                number = next(self._new) if number is None or number in taken else number
            numbers.append(number)
            taken.add(number)
            self._by_identity.setdefault(identity, number)
            self._by_name.setdefault(name, number)
        return numbers


def _keys(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Hashable, Hashable]]:
    """By identity (by name without one) and by name, each with the true label; equal ones are counted."""
    seen: Counter[Hashable] = Counter()
    for row in rows:
        name = row["source"], row["truth"]
        identity = row["identity"] or name, row["truth"]
        yield (identity, seen[identity]), (name, seen[name])
        seen.update((identity, name))


def compare(outs: Sequence[str | Path]) -> Comparison:
    """Compare evaluations with the first of them, on the images that all of them decided.

    >>> compare(["evaluation/", "with-a-third-agent/"]).sides[1].difference          # doctest: +SKIP
    Paired(n=160, difference=0.0125, low=-0.0147, high=0.0418, only_first=3, only_second=1, p_value=0.625)

    Args:
        outs: folders that `evaluate` wrote; two or more.

    Raises:
        EvaluationError: a folder holds no finished evaluation, or only its agents were judged; the labels differ; or
            no image was decided by all.
    """
    if len(outs) < 2:
        raise EvaluationError("two evaluations or more can be compared: name another folder")
    folders = [Path(out) for out in outs]
    labels = _common_labels(folders)
    numbers = _Numbers()
    opened = [_open(folder, labels, numbers) for folder in folders]
    common = opened[0].image[opened[0].answered]
    for other in opened[1:]:
        common = common[np.isin(common, other.image[other.answered])]
    if not len(common):
        raise EvaluationError(
            f"no image was decided in all of {_quoted(folders)}: compare evaluations of the same images"
        )
    first = opened[0]
    return Comparison(
        labels,
        len(common),
        tuple(_side(evaluation, None if evaluation is first else first, common) for evaluation in opened),
    )


def _side(evaluation: _Opened, first: _Opened | None, common: np.ndarray) -> Side:
    here = evaluation.places(common)
    correct = evaluation.named[here] == evaluation.truth[here]
    low, high = accuracy_interval(int(correct.sum()), len(common))
    apart = np.flatnonzero(~np.isin(evaluation.image, common))
    side: dict[str, Any] = {}
    if first is not None:
        there = first.places(common)
        before = first.named[there] == evaluation.truth[here]
        side = {
            "difference": metrics.paired(correct, before),
            "change": metrics.change(evaluation.truth[here], first.named[there], evaluation.named[here]),
            "better": _some(evaluation, here[correct & ~before]),
            "worse": _some(evaluation, here[~correct & before]),
        }
    return Side(
        out=str(evaluation.out),
        panel=evaluation.panel,
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        ece=expected_calibration_error(evaluation.confidence[here], correct),
        settled=settled_of(correct, evaluation.settled[here]),
        cost_usd=float(evaluation.cost_usd[here].sum()),
        apart=len(apart),
        apart_named=_some(evaluation, apart),
        **side,
    )


def _some(evaluation: _Opened, places: np.ndarray) -> tuple[str, ...]:
    return tuple(evaluation.names[place] for place in places[:MAX_NAMED_DIFFERENCES])


def _common_labels(folders: Sequence[Path]) -> tuple[str, ...]:
    labels = [tuple(_metrics(folder)["labels"]) for folder in folders]
    for folder, folder_labels in zip(folders[1:], labels[1:], strict=True):
        if other := sorted(set(folder_labels) ^ set(labels[0])):
            raise EvaluationError(
                f"'{folders[0]}' and '{folder}' have different labels (not in both: {', '.join(other)}): only "
                "evaluations of the same task can be compared"
            )
    return labels[0]


def _metrics(folder: Path) -> dict[str, Any]:
    from consilience.evals.evaluation import METRICS

    data = _json(folder, METRICS)
    if "labels" not in data or not (folder / ROWS_FILE).is_file():
        raise EvaluationError(f"'{folder}' holds no evaluation: name a folder that 'consilience evaluate' wrote")
    if data.get("fusion") is None:
        raise EvaluationError(f"in '{folder}' only the agents were judged: evaluate without --agents-only")
    return data


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = parsed_json((folder / name).read_bytes())
    except OSError as cause:
        unfinished = (folder / RUN).is_file()
        problem = "an evaluation that is not finished" if unfinished else "no evaluation"
        remedy = "run the same command again first" if unfinished else "name a folder that 'consilience evaluate' wrote"
        raise EvaluationError(f"'{folder}' holds {problem} ({name}: {cause.strerror}): {remedy}") from cause
    except ValueError as cause:
        raise EvaluationError(f"'{folder / name}' was damaged ({cause}): evaluate again into another folder") from cause
    return data


def _open(folder: Path, labels: Sequence[str], numbers: _Numbers) -> _Opened:
    collected = collect(read_rows(folder, labels), labels)
    rows = [row for batch in read_rows(folder, labels, COLUMNS) for row in batch.to_pylist()]
    rows.sort(key=lambda row: row["row"])
    place_of = np.searchsorted([row["row"] for row in rows], collected.fusion.rows)
    n = len(rows)
    answered, named, settled = np.zeros(n, bool), np.full(n, -1), np.zeros(n, bool)
    truth, confidence = np.full(n, -1), np.full(n, np.nan)
    answered[place_of], named[place_of], settled[place_of] = True, collected.fusion.named, collected.settled
    truth[place_of], confidence[place_of] = collected.fusion.truth, collected.fusion.confidence
    return _Opened(
        folder,
        str(_json(folder, RUN)["panel"]["id"]),
        [row["source"] for row in rows],
        np.array(numbers.of(rows), dtype=np.int64),
        answered,
        np.array([row["cost_usd"] for row in rows]),
        named,
        truth,
        confidence,
        settled,
    )


def _quoted(folders: Sequence[Path]) -> str:
    return ", ".join(f"'{folder}'" for folder in folders)
