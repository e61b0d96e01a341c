"""The answers in all rows of an evaluation, as compact arrays: some 40 bytes a look and image.

Rows are streamed from `predictions.jsonl` through Arrow; nothing but the arrays is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from consilience.evals.rows import LEFT_OUT

if TYPE_CHECKING:
    import pyarrow

Look = tuple[str, str]
"""Agent and stage."""


@dataclass
class Raw:
    """The answers of one agent's look at m images, before calibration; all arrays are (m,), in the order of the rows.

    Attributes:
        rows: the images, by their row in the source, int below 2^31.
        confidence: probability of the named label, float in [0, 1].
        correct: whether the named label was right, bool.
    """

    rows: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> Raw:
        """Return the columns of probabilities, float (m, c), and labels, int (m,); rows of NaN are left out."""
        rows, truth, probabilities = _answered(rows, truth, probabilities)
        return cls(rows, probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class AnswerColumns:
    """The answers of one agent's look, calibrated, or of the fusion at m images: what `Raw` holds, and more.

    Attributes:
        truth, named: the true label and the one that was named, as places in the task's order, int: the most probable
            one, unless costs or a reasoner chose another.
        of_truth: probability of the true label, float in [0, 1].
        squared: squared distance of the probabilities to the true label's, float in [0, 2].
    """

    rows: np.ndarray
    truth: np.ndarray
    named: np.ndarray
    confidence: np.ndarray
    of_truth: np.ndarray
    squared: np.ndarray

    @classmethod
    def of(
        cls, rows: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, named: np.ndarray | None = None
    ) -> AnswerColumns:
        """Return the columns of probabilities, float (m, c), and labels, int (m,); rows of NaN are left out.

        Args:
            named: the labels that were named, int (m,), anything where nothing was; None: the most probable ones.
        """
        if named is not None:
            named = named[np.isfinite(probabilities).all(axis=1)].astype(np.intp)
        rows, truth, probabilities = _answered(rows, truth, probabilities)
        named = probabilities.argmax(axis=1) if named is None else named
        every = np.arange(len(truth))
        of_truth = probabilities[every, truth]
        squared = (probabilities**2).sum(axis=1) - 2.0 * of_truth + 1.0
        return cls(
            rows,
            truth.astype(np.int32),
            named.astype(np.int32),
            probabilities[every, named],  # in full: 0.8 said in words must not fall into another bin
            of_truth.astype(np.float32),
            squared.astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def correct(self) -> np.ndarray:
        """Return whether the named label was right, bool (m,)."""
        right: np.ndarray = self.named == self.truth
        return right


Part = TypeVar("Part", Raw, AnswerColumns)

NOTHING = np.empty(0, np.int32), np.empty(0, np.int32), np.empty((0, 1))


def joined(kind: type[Part], parts: list[Part]) -> Part:
    """Return the parts as one, in the order of the rows, on which figures must not depend; empties the list."""
    if not parts:
        return kind.of(*NOTHING)
    whole = [np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(kind)]
    parts.clear()
    if (np.diff(whole[0]) < 0).any():
        order = np.argsort(whole[0], kind="stable")
        whole = [values[order] for values in whole]
    return kind(*whole)


def _answered(
    rows: np.ndarray, truth: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return those of the rows that have probabilities."""
    answered = np.isfinite(probabilities).all(axis=1)
    return rows[answered].astype(np.int32), truth[answered], probabilities[answered]


@dataclass
class LookAnswers:
    """One look of one agent: its answers before and after calibration, and what they took.

    Attributes:
        place: where it stands among the looks at an image, at the earliest.
        weight: its shares of the weight, added up over the images that it was asked about.
        causes: of its errors, how often each was given.
        cost_usd, seconds, tokens: what its answers took, added up.
    """

    raw: list[Raw] = field(default_factory=list)
    calibrated: list[AnswerColumns] = field(default_factory=list)
    asked: int = 0
    abstained: int = 0
    errors: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    place: int = 0
    weight: float = 0.0
    cost_usd: float = 0.0
    seconds: float = 0.0
    tokens: int = 0


@dataclass
class Collected:
    """All rows of an evaluation.

    Attributes:
        images: rows. errors: those without a diagnosis. left_out: leaks that were dropped. leaks: those and others.
        fusion: the panel's answers; before: its answers before any second look, where they are known.
        settled: whether the verdict was "confident", bool, for each answer of the fusion.
        most_probable: the label of the greatest posterior, int, for each answer of the fusion.
        held, sizes: whether the prediction set holds the true label, bool, and how many labels it holds, int, likewise.
        looks: by agent and stage, first looks first, in the order in which they stand in the rows.
    """

    fusion: AnswerColumns
    before: AnswerColumns
    settled: np.ndarray
    held: np.ndarray
    sizes: np.ndarray
    most_probable: np.ndarray
    looks: dict[Look, LookAnswers]
    images: int = 0
    errors: int = 0
    left_out: int = 0
    leaks: int = 0
    rounds: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0


def collect(batches: Iterable[pyarrow.RecordBatch], labels: Sequence[str]) -> Collected:
    """Return the columns of all rows, read batch by batch (`rows.read_rows`); `labels` are the task's, in its order."""
    fusion: list[AnswerColumns] = []
    before: list[AnswerColumns] = []
    verdicts: list[tuple[np.ndarray, ...]] = []
    nothing = np.empty(0, bool), np.empty(0, bool), np.empty(0, np.intp), np.empty(0, np.intp)
    collected = Collected(AnswerColumns.of(*NOTHING), AnswerColumns.of(*NOTHING), *nothing, {})
    for batch in batches:
        rows, truth = _numbers(batch["row"]), _places(batch["truth"], labels)
        posterior, earlier = _shares(batch["posterior"]), _shares(batch["first_posterior"])
        answered = np.isfinite(posterior).all(axis=1)
        fusion.append(AnswerColumns.of(rows, truth, posterior, _places(batch["label"], labels)))
        before.append(AnswerColumns.of(rows, truth, earlier))
        sets = _sets(batch["prediction_set"], batch["truth"])
        judged = rows, _flags(batch["verdict"], "confident"), *sets, posterior.argmax(axis=1)
        verdicts.append(tuple(values[answered] for values in judged))
        dropped = int(_flags(batch["error"], LEFT_OUT).sum())
        collected.images += len(rows)
        collected.left_out += dropped
        collected.errors += int((~answered).sum()) - dropped
        collected.leaks += int(_numbers(batch["leak"]).sum())
        collected.rounds += int(_numbers(batch["rounds"]).sum())
        collected.cost_usd += float(_numbers(batch["cost_usd"]).sum())
        collected.seconds += float(_numbers(batch["seconds"]).sum())
        _add_looks(collected.looks, batch["predictions"], rows, truth)
    collected.looks = dict(sorted(collected.looks.items(), key=lambda item: (item[0][1], item[1].place, item[0][0])))
    collected.fusion, collected.before = joined(AnswerColumns, fusion), joined(AnswerColumns, before)
    if verdicts:
        numbers, *columns = (np.concatenate(parts) for parts in zip(*verdicts, strict=True))
        order = np.argsort(numbers, kind="stable")
        columns = [column[order] for column in columns]
        collected.settled, collected.held, collected.sizes, collected.most_probable = columns
    return collected


def _add_looks(looks: dict[Look, LookAnswers], column: pyarrow.ListArray, rows: np.ndarray, truth: np.ndarray) -> None:
    import pyarrow.compute as pc

    image = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    values = column.flatten()
    parts = dict(zip([entry.name for entry in values.type], values.flatten(), strict=True))
    weight = np.nan_to_num(_numbers(parts["weight"]))
    total = np.bincount(image, weights=weight, minlength=len(rows))[image]
    share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    share = np.rint(share * 2**30) / 2**30  # so that sums are exact, in whatever order a resumed run left the rows
    raw, calibrated = _shares(parts["probabilities"]), _shares(parts["calibrated"])
    abstained, failed = _numbers(parts["abstained"]).astype(bool), ~_numbers(parts["error"].is_null()).astype(bool)
    agents, stages = (parts[name].dictionary_encode() for name in ("agent", "stage"))
    who = np.stack([_numbers(agents.indices), _numbers(stages.indices)], axis=1)
    place = np.arange(len(image)) - _numbers(column.offsets)[image] + column.offsets[0].as_py()
    for agent, stage in np.unique(who, axis=0).tolist():
        here = (who == (agent, stage)).all(axis=1)
        where, least = image[here], int(place[here].min())
        look = agents.dictionary[agent].as_py(), stages.dictionary[stage].as_py()
        look_answers = looks.setdefault(look, LookAnswers(place=least))
        look_answers.place = min(look_answers.place, least)
        look_answers.raw.append(Raw.of(rows[where], truth[where], raw[here]))
        look_answers.calibrated.append(AnswerColumns.of(rows[where], truth[where], calibrated[here]))
        look_answers.asked += int(here.sum())
        look_answers.abstained += int(abstained[here].sum())
        look_answers.errors += int(failed[here].sum())
        look_answers.causes.update(parts["error"].filter(failed & here).to_pylist())
        look_answers.weight += float(share[here].sum())
        look_answers.cost_usd += float(_numbers(parts["cost_usd"])[here].sum())
        look_answers.seconds += float(_numbers(parts["seconds"])[here].sum())
        look_answers.tokens += int(_numbers(parts["tokens"])[here].sum())


def _sets(column: pyarrow.ListArray, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Whether each set holds the truth, bool (m,), and its size, int (m,)."""
    import pyarrow.compute as pc

    image = _numbers(pc.list_parent_indices(column)).astype(np.intp)
    is_truth = _numbers(pc.fill_null(pc.equal(column.flatten(), truth.take(pc.list_parent_indices(column))), False))
    sizes = np.bincount(image, minlength=len(column))
    return np.bincount(image[is_truth.astype(bool)], minlength=len(column)) > 0, sizes


def _numbers(column: Any) -> np.ndarray:
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False)
    return numbers


def _shares(column: pyarrow.StructArray) -> np.ndarray:
    """Probabilities float (m, c); rows of NaN where there are none."""
    return np.stack([_numbers(shares) for shares in column.flatten()], axis=1).astype(np.float64)


def _places(column: Any, labels: Sequence[str]) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _numbers(pc.index_in(column, pa.array(labels)))


def _flags(column: Any, text: str) -> np.ndarray:
    import pyarrow.compute as pc

    return _numbers(pc.fill_null(pc.equal(column, text), False)).astype(bool)
