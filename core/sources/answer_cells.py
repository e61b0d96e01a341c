"""The columns of a table of answers, and what stands in a row of it.

Long, a row an image and agent:

    image                     what tells the images apart, such as a path
    agent                     who answered
    label                     the label that it named; empty: it gave none. It need not be one of the task's. Several:
                              `rust | scab`, most likely first; `rust or scab`, equally likely
    confidence                how sure it said it was, in [0, 1]; of several labels it does not count
    p_<label>, ...            its probabilities, which sum to 1; instead of `label`, or where they are known
    logits_<label>, ...       or what its softmax makes probabilities of
    stage                     `first`, or `revised` for what it said when it had seen evidence; empty: first
    truth                     the true label; empty: not known
    group                     the thing that the image shows; empty: itself alone

Wide, a row an image: `image`, `truth`, `group`, and for each agent

    <agent>                   its label
    <agent>:confidence, <agent>:p_<label>, <agent>:logits_<label>
    <agent>:revised, <agent>:revised:confidence, ...    what it said when it had seen evidence
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consilience.core.prediction import Stage
from consilience.core.sources.answers import Answer

IMAGE, AGENT, LABEL, CONFIDENCE, STAGE, TRUTH, GROUP = (
    "image", "agent", "label", "confidence", "stage", "truth", "group"
)  # fmt: skip
SHARE, LOGIT, REVISED = "p_", "logits_", "revised"

STAGES: Mapping[str, Stage] = {"": "first", "first": "first", REVISED: "second", "second": "second"}

ROUNDED = 0.01
"""How far probabilities may be from 1 in sum; they are scaled to it."""

_WIDE = re.compile(rf"(?P<agent>.+?)(?P<again>:{REVISED})?(:(?P<what>{LABEL}|{CONFIDENCE}|({SHARE}|{LOGIT}).+))?")


class UnfitCell(ValueError):
    """A cell, or a row of them, cannot be used; says why."""


@dataclass(frozen=True)
class AnswerCells:
    """Where in a row the answer of one look stands; the names of columns, None for those that are missing.

    Attributes:
        agent, stage: whose look it is; None where the row says so.
        shares: column of the probability, or of the logit, by label.
        are_logits: which of the two they are.
    """

    agent: str | None
    stage: Stage | None
    label: str | None
    confidence: str | None
    shares: Mapping[str, str]
    are_logits: bool

    @classmethod
    def of(cls, agent: str | None, stage: Stage | None, columns: Mapping[str, str]) -> AnswerCells:
        """Return them from the table's columns by what they hold: `label`, `confidence`, `p_<label>`, ...

        Raises:
            UnfitCell: there are both probabilities and logits, a confidence without a label, or nothing.
        """
        kinds = {
            kind: {what.removeprefix(kind): column for what, column in columns.items() if what.startswith(kind)}
            for kind in (SHARE, LOGIT)
        }
        if all(kinds.values()):
            raise UnfitCell(f"it has both '{SHARE}' and '{LOGIT}' columns{_of(agent)}; leave one kind out")
        label, shares = columns.get(LABEL), kinds[SHARE] or kinds[LOGIT]
        if label is None and not shares:
            raise UnfitCell(f"it has no column '{LABEL}', '{SHARE}<label>' or '{LOGIT}<label>'{_of(agent)}")
        return cls(agent, stage, label, columns.get(CONFIDENCE), shares, bool(kinds[LOGIT]))

    def answer(self, cells: Mapping[str, Any]) -> Answer:
        """Return what a row says. Raises UnfitCell: it cannot be used."""
        agent = self.agent if self.agent is not None else text_of(cells, AGENT)
        if not agent:
            raise UnfitCell(f"'{AGENT}' is empty")
        stage = self.stage
        if stage is None:
            if (written := text_of(cells, STAGE).lower()) not in STAGES:
                raise UnfitCell(f"'{STAGE}' is '{written}', neither 'first' nor '{REVISED}'")
            stage = STAGES[written]
        label = "" if self.label is None else text_of(cells, self.label)
        confidence = None if self.confidence is None else number_of(cells, self.confidence)
        if confidence is not None and not 0.0 <= confidence <= 1.0:
            raise UnfitCell(f"'{self.confidence}' is {confidence:g}, not in [0, 1]")
        return Answer(agent, stage, label, confidence, self._shares(cells))

    def _shares(self, cells: Mapping[str, Any]) -> dict[str, float] | None:
        numbers = {label: number_of(cells, column) for label, column in self.shares.items()}
        known = {label: number for label, number in numbers.items() if number is not None}
        if not known:
            return None
        if len(known) < len(numbers):
            missing = next(self.shares[label] for label in numbers if label not in known)
            raise UnfitCell(f"'{missing}' is empty, and others of its kind are not")
        if self.are_logits:
            most = max(known.values())
            known = {label: math.exp(logit - most) for label, logit in known.items()}
        elif wrong := [label for label, share in known.items() if not 0.0 <= share <= 1.0 + ROUNDED]:
            raise UnfitCell(f"'{self.shares[wrong[0]]}' is {known[wrong[0]]:g}, not in [0, 1]")
        total = math.fsum(known.values())
        if not self.are_logits and abs(total - 1.0) > ROUNDED:
            raise UnfitCell(f"the probabilities{_of(self.agent)} sum to {total:.6g}, not to 1")
        return {label: share / total for label, share in known.items()}


def answer_cells(columns: Sequence[str]) -> list[AnswerCells]:
    """Return where the answers stand in rows of these columns: one of a long table, one a look of a wide one.

    Raises:
        UnfitCell: there is no column `image`, or none with answers.
    """
    if IMAGE not in columns:
        raise UnfitCell(f"it has no column '{IMAGE}' (its columns: {', '.join(columns) or 'none'})")
    if AGENT in columns:
        return [AnswerCells.of(None, None, {column: column for column in columns})]
    looks: dict[tuple[str, Stage], dict[str, str]] = {}
    for column in columns:
        if column in (IMAGE, TRUTH, GROUP) or not column.strip() or (match := _WIDE.fullmatch(column)) is None:
            continue
        stage: Stage = "second" if match["again"] else "first"
        looks.setdefault((match["agent"].strip(), stage), {})[match["what"] or LABEL] = column
    if not looks:
        raise UnfitCell(f"it has neither a column '{AGENT}' nor a column for an agent's labels")
    return [AnswerCells.of(agent, stage, own) for (agent, stage), own in looks.items()]


def text_of(cells: Mapping[str, Any], column: str) -> str:
    """Return the text in a cell without blanks around it; empty for none. Raises UnfitCell: it is no text."""
    value = cells.get(column)
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise UnfitCell(f"'{column}' is {value!r}, which is not Unicode")
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UnfitCell(f"'{column}' is {value!r}, neither text nor a whole number")


def number_of(cells: Mapping[str, Any], column: str) -> float | None:
    """Return the number in a cell; None where it is empty. Raises UnfitCell: it is no finite number."""
    value = cells.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UnfitCell(f"'{column}' is {value!r}, not a finite number")
    return number


def _of(agent: str | None) -> str:
    return "" if agent is None else f" of '{agent}'"
